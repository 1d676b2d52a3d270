"""NDCG@k and precision@k of recommendations by user; the metrics are their means over users."""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F


def by_user(rows: DataFrame, k: int) -> DataFrame:
    """`rows`: user, item, relevance (0 or more) and score. One row per user with any relevant item: `ndcg` and `precision`.

    NDCG has linear gains and logarithmic discounts (Järvelin and Kekäläinen 2002), as scikit-learn's; items of equal score are
    ordered by name. A null or NaN score makes the user's values, and so the metric, undefined.
    """
    user = Window.partitionBy("user")
    rank = F.row_number().over(user.orderBy(F.desc("score"), "item"))
    best = F.row_number().over(user.orderBy(F.desc("relevance"), "item"))
    ranked = rows.select("user", "relevance", "score", rank.alias("rank"), best.alias("best"))
    lists = ranked.groupBy("user").agg(
        _gain(F.col("rank"), k).alias("gained"),
        _gain(F.col("best"), k).alias("possible"),
        (F.count_if((F.col("rank") <= k) & (F.col("relevance") > 0)) / k).alias("right"),
        F.max(F.isnan("score") | F.isnull("score")).alias("unknown"),
    )
    known = lists.where("possible > 0")
    return known.select("user", _or_nan(F.col("gained") / F.col("possible"), "ndcg"), _or_nan(F.col("right"), "precision"))


def _gain(rank: Column, k: int) -> Column:
    return F.sum(F.when(rank <= k, F.col("relevance") / F.log2(rank + 1)).otherwise(0.0))


def _or_nan(value: Column, name: str) -> Column:
    return F.when(F.col("unknown"), F.lit(float("nan"))).otherwise(value).alias(name)
