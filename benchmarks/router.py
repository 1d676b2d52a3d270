"""265 requests a second through the router, ten minutes long: failures and latency."""

import time

from demo.live import Live
from demo.paths import MODEL
from demo.traffic import LoadGenerator

PER_SECOND = 265
MINUTES = 10


def main() -> None:
    live = Live()
    golden = live.golden_rows(MODEL)
    with LoadGenerator(live.url(MODEL), list(golden.columns), [list(row) for row in golden.rows], PER_SECOND, clients=8) as tally:
        for minute in range(MINUTES):
            time.sleep(60)
            print(
                f"  minute {minute + 1}: {tally.sent:,} sent, {len(tally.failures)} failed, p99 {tally.percentile_ms(0.99):.1f} ms",
                flush=True,
            )
    print(
        f"{tally.sent / (60 * MINUTES):.0f} requests/s for {MINUTES} minutes: {len(tally.failures)} failed, "
        f"p50 {tally.percentile_ms(0.5):.1f} ms, p99 {tally.percentile_ms(0.99):.1f} ms"
    )


if __name__ == "__main__":
    main()
