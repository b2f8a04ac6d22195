//! Unplug on other people's stores. Each file in `tests/` is what a user writes for a store of their own:
//! the [`Store`](unplug::testing::Store) trait on a few lines, and plain `#[test]` functions.
