from tests.stores import hdfs, hdfs_cluster, s3, s3_server, store  # noqa: F401  (fixtures)
