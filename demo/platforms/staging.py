"""Packs and uploads what the first job on the cluster needs: `python -m demo.platforms.staging` in Airflow's environment."""

import logging

from contract.platform import load_platform
from contract.store.factory import store_at
from demo.paths import HOME, platform
from plugins.retraining.engines.artifact_staging import ship


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    chosen = load_platform(platform(), HOME)
    ship(store_at(chosen.store), chosen.spark.python, logging.getLogger(__name__))


if __name__ == "__main__":
    main()
