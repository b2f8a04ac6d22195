//! The environment's family of `UNPLUG_` variables. Each mirrors a method of the API, and wins over it; a bad
//! value is an error, never ignored.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the environment asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `UNPLUG_SEED`: seed of scheduler, sampling and generators.
    pub seed: Option<u64>,
    /// `UNPLUG_CASES`: cases of a property.
    pub cases: Option<u32>,
    /// `UNPLUG_BUDGET`: crash states that a check tries at the most.
    pub budget: Option<u64>,
    /// `UNPLUG_REPLAY`: a repro file that a check runs instead of exploring.
    pub replay: Option<PathBuf>,
}

/// A variable's value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value}: {why}")]
pub struct BadVariable {
    name: &'static str,
    value: String,
    why: &'static str,
}

impl Settings {
    /// What the environment of this process asks for.
    ///
    /// # Errors
    /// The first variable whose value cannot be used.
    pub fn read() -> Result<Settings, BadVariable> {
        Settings::from(std::env::var_os)
    }

    fn from(get: impl Fn(&'static str) -> Option<OsString>) -> Result<Settings, BadVariable> {
        let number = |name: &'static str| -> Result<Option<u64>, BadVariable> {
            let Some(value) = get(name) else { return Ok(None) };
            let parsed = value.to_str().and_then(|v| v.parse().ok());
            parsed.map(Some).ok_or_else(|| bad(name, &value, "a decimal number is expected"))
        };
        let cases = match number("UNPLUG_CASES")? {
            None => None,
            Some(n) => match u32::try_from(n) {
                Ok(n) if n > 0 => Some(n),
                _ => return Err(bad("UNPLUG_CASES", n.to_string().as_ref(), "1 to 4294967295 is expected")),
            },
        };
        let replay = match get("UNPLUG_REPLAY").map(PathBuf::from) {
            Some(path) if !path.is_file() => {
                return Err(bad("UNPLUG_REPLAY", path.as_os_str(), "there is no such file"));
            }
            replay => replay,
        };
        let (seed, budget) = (number("UNPLUG_SEED")?, number("UNPLUG_BUDGET")?);
        if budget == Some(0) {
            return Err(bad("UNPLUG_BUDGET", "0".as_ref(), "nothing would be tried"));
        }
        Ok(Settings { seed, cases, budget, replay })
    }
}

fn bad(name: &'static str, value: &std::ffi::OsStr, why: &'static str) -> BadVariable {
    BadVariable { name, value: value.to_string_lossy().into_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, BadVariable> {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
        Settings::from(find)
    }

    #[test]
    fn good_values_are_taken() {
        let all = [("UNPLUG_SEED", "7"), ("UNPLUG_CASES", "3"), ("UNPLUG_BUDGET", "100")];
        let expected = Settings { seed: Some(7), cases: Some(3), budget: Some(100), replay: None };
        assert_eq!(settings(&all), Ok(expected));
        assert_eq!(settings(&[]), Ok(Settings::default()));
    }

    #[test]
    fn bad_values_are_errors_that_name_the_variable() {
        for (name, value) in [
            ("UNPLUG_SEED", "x"),
            ("UNPLUG_SEED", "-1"),
            ("UNPLUG_CASES", "0"),
            ("UNPLUG_CASES", "4294967296"),
            ("UNPLUG_BUDGET", ""),
            ("UNPLUG_BUDGET", "0"),
            ("UNPLUG_REPLAY", "/no/such/file"),
        ] {
            let error = settings(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}={value}")), "{error}");
        }
    }
}
