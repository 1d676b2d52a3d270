"""An application on a cluster whose nodes have disks of their own: saves a pipeline as train does, and loads it as compare does."""

import sys
import tempfile
from pathlib import Path

from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import VectorAssembler

from spark_jobs.runtime.session import start_session
from spark_jobs.runtime.shared_folder import SharedFolder
from spark_jobs.tracking.model_versions import load_pipeline

if __name__ == "__main__":
    spark = start_session("saves a pipeline")
    rows = spark.range(100).selectExpr("id % 2 AS label", "cast(id AS double) AS x")
    pipeline = Pipeline(stages=[VectorAssembler(inputCols=["x"], outputCol="features"), LogisticRegression(maxIter=2)]).fit(rows)
    shared = SharedFolder.of(spark, sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "model", "sparkml")
        shared.save(pipeline, saved)
        loaded = load_pipeline(saved, shared)
    assert loaded.transform(rows).count() == 100
    shared.remove()
    spark.stop()
