//! Sorted sets.

mod basic;
mod bounds;
mod combine;
mod pop;
mod range;

pub(super) use basic::{zadd, zcard, zincrby, zmscore, zrank, zrem, zrevrank, zscore};
pub(super) use combine::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
pub(super) use pop::{end_and_count, pop_count, pop_many, pop_one, zmpop, zpopmax, zpopmin, zrandmember};
pub(super) use range::{
    zcount, zlexcount, zrange, zrangebylex, zrangebyscore, zrangestore, zremrangebylex, zremrangebyrank,
    zremrangebyscore, zrevrange, zrevrangebylex, zrevrangebyscore,
};
