"""`make stop`: ends every process of the demo and says so."""

from demo import services


def main() -> None:
    if not services.running():
        print("nothing of the demo is running")
        return
    services.stop()
    print("stopped; `make demo` starts it again, with what was live")


if __name__ == "__main__":
    main()
