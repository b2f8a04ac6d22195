//! The name under which the test harness knows the running test.

use std::panic::Location;

/// A test's path, as `cargo test -- --exact PATH` takes it, and the place of one check in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestPath {
    path: String,
    place: String,
}

impl TestPath {
    /// The path of the function that a local item of the given type stands in: what
    /// [`test_path!`](crate::test_path) hands over.
    #[track_caller]
    pub fn of<T>(local: &T) -> TestPath {
        let place = Location::caller();
        let place = format!("{}:{}:{}", place.file(), place.line(), place.column());
        TestPath { path: path_of(std::any::type_name_of_val(local)), place }
    }

    /// The test's path without its crate, such as `module::test`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// File, line and column of the check, which tell it from other checks in the same test.
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// From `crate::module::test::{{closure}}::here` to `module::test`.
fn path_of(type_name: &str) -> String {
    let function = type_name.strip_suffix("::here").unwrap_or(type_name);
    // A check in a closure belongs to the function around it.
    let function = function.split("::{{closure}}").next().unwrap_or(function);
    function.split_once("::").map_or(function, |(_crate, rest)| rest).to_owned()
}

/// The [`TestPath`](crate::testing::TestPath) of the test function that this stands in (directly, or in a closure
/// in it): a check starts its test again by this name.
#[macro_export]
macro_rules! test_path {
    () => {{
        fn here() {}
        $crate::testing::TestPath::of(&here)
    }};
}

/// A [`Check`](crate::testing::Check) of a [`Store`](crate::testing::Store): `unplug::check!(MyStore)`.
#[macro_export]
macro_rules! check {
    ($store:ty) => {
        $crate::testing::check::<$store>($crate::test_path!())
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_test_knows_its_path() {
        let direct = crate::test_path!();
        assert_eq!(direct.path(), "testing::path::tests::a_test_knows_its_path");
        let inner = || crate::test_path!();
        let outer = || inner();
        let in_closure = outer();
        assert_eq!(in_closure.path(), direct.path());
        assert_ne!(in_closure.place(), direct.place());
        assert_eq!(std::thread::current().name(), Some(direct.path()));
    }
}
