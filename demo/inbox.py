"""Receives the demo's alerts: a mail server and a Slack webhook in one small process, writing to .demo/inbox.txt."""

import asyncio
import email
import email.policy
import json
from datetime import datetime

from demo.paths import INBOX, SMTP_PORT, WEBHOOK_PORT

MAX_MESSAGE_BYTES = 1024 * 1024


def deliver(channel: str, to: str, text: str) -> None:
    stamp = datetime.now().strftime("%H:%M:%S")
    with INBOX.open("a") as file:
        file.write(f"--- {stamp} {channel} to {to}\n{text.strip()}\n")


async def smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The few commands of RFC 5321 that a client needs to deliver a message."""

    async def say(line: str) -> None:
        writer.write(f"{line}\r\n".encode())
        await writer.drain()

    await say("220 inbox")
    while line := (await reader.readline()).decode(errors="replace").strip():
        word = line.split(" ", 1)[0].upper()
        if word == "DATA":
            await say("354 go on")
            _deliver_mail(await _mail_body(reader))
        if word == "QUIT":
            await say("221 bye")
            break
        await say("250 ok")
    writer.close()


async def _mail_body(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while (line := await reader.readline()) not in (b".\r\n", b"") and len(body) < MAX_MESSAGE_BYTES:
        body += line.removeprefix(b".") if line.startswith(b"..") else line
    return body


def _deliver_mail(body: bytes) -> None:
    message = email.message_from_bytes(body, policy=email.policy.default)
    part = message.get_body(("plain", "html"))
    deliver("mail", str(message["To"]), f"{message['Subject']}\n{part.get_content() if part else ''}")


async def webhook(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers as Slack's incoming webhook does: 200 with the text «ok»."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next((int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length:")), 0)
    body = json.loads(await reader.readexactly(min(length, MAX_MESSAGE_BYTES)))
    deliver("slack", "webhook", body.get("text") or json.dumps(body))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()


async def main() -> None:
    servers = [
        await asyncio.start_server(smtp, "127.0.0.1", SMTP_PORT),
        await asyncio.start_server(webhook, "127.0.0.1", WEBHOOK_PORT),
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
