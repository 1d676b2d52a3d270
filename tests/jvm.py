"""Options of each JVM that a test starts, directly or through the product.

It runs for a minute or two, in which the optimizing compiler takes as much processor time as all the rest: tests of training
took 136 s of processor time with it and 71 s without.
"""

QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
ON_CLUSTER = {f"spark.{part}.extraJavaOptions": QUICK for part in ("driver", "executor")}  # where spark-submit's own do not reach
