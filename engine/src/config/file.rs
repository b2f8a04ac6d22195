//! redis.conf and the command line: reading both, and CONFIG REWRITE.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::inert;
use super::{Config, names};
use crate::glob;
use crate::persist::{FileError, current, replace_with};
use crate::resp::split_line;
use crate::server::ListenError;

/// What is wrong with the configuration; one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("can't open config file '{0}': {1}")]
    Open(String, io::Error),
    /// A line of the file, or an argument.
    #[error("{place}: '{}': {why}", one_line(line))]
    Line {
        /// File and line, or the command line.
        place: String,
        /// What stands there.
        line: String,
        /// What is wrong with it.
        why: String,
    },
    /// The options do not go together.
    #[error("{0}")]
    Contradiction(String),
}

/// A message has one line, whatever somebody has written.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A configuration as a start finds it.
#[derive(Debug)]
pub struct Start {
    /// The options.
    pub config: Config,
    /// The file, if one was named, made absolute.
    pub file: Option<PathBuf>,
}

/// One option and its words, and where they stand.
struct Line {
    place: String,
    text: String,
    words: Vec<String>,
}

impl Start {
    /// Reads `[CONFIG-FILE] [--name value ...]`, as redis-server takes them.
    pub fn read(args: impl Iterator<Item = OsString>) -> Result<Start, ConfigError> {
        let mut args = args.peekable();
        let file = args.next_if(|first| !first.to_string_lossy().starts_with("--")).map(PathBuf::from);
        let mut lines = match &file {
            Some(path) => file_lines(path)?,
            None => Vec::new(),
        };
        let from_args = lines.len();
        for arg in args {
            let text = arg.into_string().map_err(|arg| ConfigError::Line {
                place: "command line".into(),
                line: arg.to_string_lossy().into_owned(),
                why: "not UTF-8".into(),
            })?;
            match text.strip_prefix("--") {
                Some(name) => lines.push(Line {
                    place: "command line".into(),
                    text: text.clone(),
                    words: vec![name.to_ascii_lowercase()],
                }),
                None if lines.len() > from_args => {
                    let Some(line) = lines.last_mut() else { continue };
                    line.text = format!("{} {text}", line.text);
                    line.words.extend(option_words(&line.words[0], text));
                }
                None => {
                    let why = "an option begins with --".into();
                    return Err(ConfigError::Line { place: "command line".into(), line: text, why });
                }
            }
        }
        let config = apply(&expand(lines, 0)?)?;
        config.check().map_err(ConfigError::Contradiction)?;
        if config.port == 0 && config.unixsocket.is_none() {
            return Err(ConfigError::Contradiction(ListenError::Nowhere.to_string()));
        }
        let file = file.map(|f| std::path::absolute(&f).unwrap_or(f));
        Ok(Start { config, file })
    }
}

/// `--save "900 1"` comes as one argument of several words.
fn option_words(name: &str, text: String) -> Vec<String> {
    if name == "save" && !text.is_empty() {
        text.split_ascii_whitespace().map(str::to_owned).collect()
    } else {
        vec![text]
    }
}

fn file_lines(path: &Path) -> Result<Vec<Line>, ConfigError> {
    // A crash during CONFIG REWRITE may have left the file under its second name only.
    let found = current(path).ok().flatten();
    let text = fs::read(found.as_deref().unwrap_or(path))
        .map_err(|e| ConfigError::Open(path.display().to_string(), e))?;
    let mut lines = Vec::new();
    for (number, line) in text.split(|b| *b == b'\n').enumerate() {
        let shown = String::from_utf8_lossy(line).trim().to_owned();
        if shown.is_empty() || shown.starts_with('#') {
            continue;
        }
        let place = format!("{} line {}", path.display(), number + 1);
        let words = split_line(line)
            .map(|words| words.into_iter().map(String::from_utf8).collect::<Result<Vec<_>, _>>());
        match words {
            Some(Ok(mut words)) => {
                words[0].make_ascii_lowercase();
                lines.push(Line { place, text: shown, words });
            }
            Some(Err(_)) => return Err(ConfigError::Line { place, line: shown, why: "not UTF-8".into() }),
            None => return Err(ConfigError::Line { place, line: shown, why: "unbalanced quotes".into() }),
        }
    }
    Ok(lines)
}

fn apply(lines: &[Line]) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    let mut save_named = false;
    for (n, line) in lines.iter().enumerate() {
        let wrong =
            |why: String| ConfigError::Line { place: line.place.clone(), line: line.text.clone(), why };
        let name = &line.words[0];
        let words: Vec<&str> = line.words[1..].iter().map(String::as_str).collect();
        if !names().any(|n| n == name) {
            inert::check(name, &words).unwrap_or_else(|| Err("unknown option".into())).map_err(wrong)?;
            continue;
        }
        // A file that was written for a service names what is not supported; what is said later takes its place.
        let later = |name: &String| lines[n + 1..].iter().any(|l| l.words[0] == *name);
        if UNSUPPORTED.contains(&name.as_str()) && later(name) {
            continue;
        }
        if name == "save" && !std::mem::replace(&mut save_named, true) {
            // The first save point takes the place of the defaults.
            config.save.clear();
        }
        config.set(name, &words).map_err(wrong)?;
    }
    Ok(config)
}

/// Options of which only one value is supported.
const UNSUPPORTED: [&str; 4] = ["daemonize", "maxmemory", "maxmemory-policy", "supervised"];
/// As Redis: files that include one another have an end.
const DEEPEST: usize = 16;

/// Puts the lines of included files in the place of what includes them.
fn expand(lines: Vec<Line>, depth: usize) -> Result<Vec<Line>, ConfigError> {
    let mut all = Vec::new();
    for line in lines {
        if line.words[0] != "include" {
            all.push(line);
            continue;
        }
        let wrong = |why: &str| ConfigError::Line {
            place: line.place.clone(),
            line: line.text.clone(),
            why: why.into(),
        };
        let [_, pattern] = &line.words[..] else { return Err(wrong("wrong number of arguments")) };
        if depth == DEEPEST {
            return Err(wrong("files include one another too deeply"));
        }
        for path in matching(Path::new(pattern))? {
            all.extend(expand(file_lines(&path)?, depth + 1)?);
        }
    }
    Ok(all)
}

/// The files that a pattern names in its last part, in order; the path itself where it is none.
fn matching(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let pattern = path.file_name().unwrap_or_default().to_string_lossy();
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unread = |e| ConfigError::Open(dir.display().to_string(), e);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        let hidden = name.to_string_lossy().starts_with('.');
        if !hidden && glob::matches(pattern.as_bytes(), name.to_string_lossy().as_bytes()) {
            found.push(dir.join(name));
        }
    }
    found.sort();
    Ok(found)
}

/// Quotes a value if it needs it.
fn quoted(name: &str, value: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\'' && c != '\\';
    if !value.is_empty() && (name == "save" || name == "bind" || value.chars().all(plain)) {
        return value.into();
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Writes the options back into their file: lines of options that changed are changed in place, options that
/// are neither there nor default are added, everything else stays. The file is replaced as the data's are: no crash leaves neither the old nor the new one.
pub fn rewrite(path: &Path, config: &Config) -> Result<(), FileError> {
    let unread = |source| FileError { doing: "read", path: path.to_owned(), source };
    let old = fs::read_to_string(path).map_err(unread)?;
    let defaults = Config::default();
    let mut seen: Vec<&str> = Vec::new();
    let mut new = String::new();
    for line in old.lines() {
        let first = line.split_ascii_whitespace().next().unwrap_or("").to_ascii_lowercase();
        match names().find(|name| *name == first) {
            None => new.push_str(&format!("{line}\n")),
            Some(name) if seen.contains(&name) => {}
            Some(name) => {
                seen.push(name);
                if let Some(value) = config.get(name) {
                    new.push_str(&format!("{name} {}\n", quoted(name, &value)));
                }
            }
        }
    }
    for name in names().filter(|name| !seen.contains(name)) {
        match config.get(name) {
            Some(value) if defaults.get(name).as_ref() != Some(&value) => {
                new.push_str(&format!("{name} {}\n", quoted(name, &value)));
            }
            _ => {}
        }
    }
    let mut temp = path.file_name().unwrap_or_default().to_owned();
    temp.push(format!(".{}.tmp", std::process::id()));
    replace_with(path, &path.with_file_name(temp), new.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Start, ConfigError> {
        Start::read(args.iter().map(OsString::from))
    }

    #[test]
    fn arguments_override_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("redis.conf");
        fs::write(
            &file,
            "# comment\n\nAppendOnly yes\nsave 10 2\nsave 60 5\ndbfilename \"a \\x41.rdb\"\nauto-aof-rewrite-min-size 1mb\n",
        )
        .unwrap();
        let file = file.to_str().unwrap();
        let start = read(&[file, "--port", "7001", "--appendfsync", "always"]).unwrap();
        let c = &start.config;
        assert_eq!((c.appendonly, c.port, c.dbfilename.as_str()), (true, 7001, "a A.rdb"));
        assert_eq!(c.save, [(10, 2), (60, 5)]);
        assert_eq!(c.auto_aof_rewrite_min_size, 1 << 20);
        assert_eq!(read(&["--save", ""]).unwrap().config.save, []);
        assert_eq!(read(&["--save", "1 2", "--save", "3", "4"]).unwrap().config.save, [(1, 2), (3, 4)]);
    }

    #[test]
    fn a_file_that_was_written_for_redis_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("redis.conf");
        let text = "bind 127.0.0.1 -::1\nprotected-mode yes\nport 6379\ntcp-backlog 511\ntimeout 0\n\
            tcp-keepalive 300\ndaemonize no\npidfile /run/redis.pid\nloglevel notice\nlogfile \"\"\n\
            databases 16\nalways-show-logo no\nset-proc-title yes\nproc-title-template \"{title} {port}\"\n\
            save 3600 1 300 100 60 10000\nrdbchecksum yes\ndbfilename dump.rdb\ndir ./\n\
            replica-serve-stale-data yes\nrepl-diskless-sync yes\nacllog-max-len 128\n\
            lazyfree-lazy-eviction no\noom-score-adj-values 0 200 800\ndisable-thp yes\nappendonly no\n\
            appendfilename \"appendonly.aof\"\nappenddirname \"appendonlydir\"\nappendfsync everysec\n\
            slowlog-log-slower-than 10000\nhash-max-listpack-entries 512\nlist-compress-depth 0\n\
            client-output-buffer-limit normal 0 0 0\nhz 10\ndynamic-hz yes\njemalloc-bg-thread yes\n";
        fs::write(&file, text).unwrap();
        let config = read(&[file.to_str().unwrap()]).unwrap().config;
        let expected = Config { bind: "127.0.0.1 -::1".into(), dir: "./".into(), ..Config::default() };
        assert_eq!(config, expected);
        fs::write(&file, format!("{text}requirepass secret\n")).unwrap();
        assert!(read(&[file.to_str().unwrap()]).is_err());
    }

    #[test]
    fn files_include_others() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("b.inc"), "hz 20\n").unwrap();
        fs::write(at("a.inc"), "hz 30\nsave \"60 100 5 1\"\n").unwrap();
        let main = at("main");
        let read = |args: &[&str]| read(&[&[main.to_str().unwrap()], args].concat());
        fs::write(&main, format!("hz 40\ninclude {}\nport 7\n", at("*.inc").display())).unwrap();
        let config = read(&[]).unwrap().config;
        assert_eq!((config.hz, config.port, config.save), (20, 7, vec![(60, 100), (5, 1)]));
        // What stands later wins, and the command line is the last.
        fs::write(&main, format!("include {}\nhz 40\n", at("b.inc").display())).unwrap();
        assert_eq!(read(&[]).unwrap().config.hz, 40);
        assert_eq!(read(&["--include", at("b.inc").to_str().unwrap()]).unwrap().config.hz, 20);
        for wrong in ["include".to_owned(), format!("include {}", at("none").display())] {
            fs::write(&main, wrong).unwrap();
            assert!(read(&[]).is_err());
        }
        fs::write(&main, format!("include {}\n", main.display())).unwrap();
        let error = read(&[]).unwrap_err().to_string();
        assert!(error.contains("too deeply"), "{error}");
    }

    /// Debian's own file says that it is for a service that goes to the background.
    #[test]
    fn what_is_not_supported_is_overridden() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("redis.conf");
        fs::write(&file, "daemonize yes\nsupervised systemd\nmaxmemory 1gb\n").unwrap();
        let file = file.to_str().unwrap();
        let error = read(&[file]).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("background"), "{error}");
        let words = [file, "--daemonize", "no", "--supervised", "no", "--maxmemory", "0"];
        assert!(read(&words).is_ok());
        assert!(read(&words[..5]).is_err());
        let debian = "/etc/redis/redis.conf";
        if fs::read(debian).is_ok() {
            let config = read(&[debian, "--daemonize", "no", "--supervised", "no"]).unwrap().config;
            assert_eq!((config.port, config.dir), (6379, PathBuf::from("/var/lib/redis")));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c");
        fs::write(&file, "port 0\nhz 900\n").unwrap();
        let error = read(&[file.to_str().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("line 2: 'hz 900': argument must be between 1 and 500"), "{error}");
        for args in [
            vec!["--nope", "1"],
            vec!["--hz"],
            vec!["--hz", "1", "2"],
            vec!["/no/such/file"],
            vec!["--bind", "nowhere"],
            vec!["--appenddirname", "x", "--dbfilename", "x"],
        ] {
            let error = read(&args).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn rewriting_keeps_comments_and_reads_back_as_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        fs::write(&path, "# mine\nport 7\nsave 1 1\nsave 2 2\n").unwrap();
        let config = Config {
            port: 9,
            save: vec![],
            dbfilename: "with \"quotes\"".into(),
            appendonly: true,
            ..Config::default()
        };
        rewrite(&path, &config).unwrap();
        assert_eq!(read(&[path.to_str().unwrap()]).unwrap().config, config);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# mine\nport 9\nsave \"\"\n"), "{text}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // As after a crash that took the rename apart.
        fs::rename(&path, dir.path().join("c.prev")).unwrap();
        assert_eq!(read(&[path.to_str().unwrap()]).unwrap().config, config);
    }
}
