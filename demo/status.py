"""`make status`: what is live, what runs, and where each log is."""

import subprocess

from demo import services
from demo.paths import HOME, LOGS, ROOT, platform, python_of
from demo.platforms import cluster


def main() -> None:
    if not services.running():
        print("nothing of the demo is running; `make demo` starts it")
        return
    for line in services.listing().splitlines():
        name = line.split()[0]
        print(f"{line:<70} {(LOGS / name).relative_to(ROOT)}.log")
    cluster.find_hdfs()
    serving = HOME / "serving"
    print(f"{'router, controller and model servers':<70} {serving.relative_to(ROOT)}/")
    print(flush=True)
    subprocess.run([python_of("release"), "-m", "release", "status", "--platform", str(platform())], cwd=ROOT)


if __name__ == "__main__":
    main()
