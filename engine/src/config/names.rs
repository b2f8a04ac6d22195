//! Which names of files go together.
//!
//! Beside a file lie, for a while, others: the second name that a replacement keeps (`.prev`), what seals a log or
//! says that its layout changes, and what is being written. A file that had such a name would be taken for one, and
//! removed.

use super::Config;

/// What follows the name of a file in the names of those beside it.
const BESIDE: [&str; 4] = ["prev", "seal", "converting", "manifest"];

/// The beginnings of names that are only for files that are being written.
const TEMPORARY: [&str; 2] = ["temp-unplug-", "temp-rewriteaof-"];

/// Whether `name` is one that a file beside `file` may have.
fn is_beside(name: &str, file: &str) -> bool {
    let beside = |name: &str| {
        let suffixes = name.strip_prefix(file).and_then(|rest| rest.strip_prefix('.'));
        suffixes.is_some_and(|suffixes| suffixes.split('.').all(|suffix| BESIDE.contains(&suffix)))
    };
    beside(name) || name.strip_prefix("temp-").is_some_and(|rest| rest == file || beside(rest))
}

fn is_temporary(name: &str) -> bool {
    TEMPORARY.iter().any(|beginning| name.starts_with(beginning))
}

impl Config {
    /// What the names of files must be together.
    pub(crate) fn check_names(&self) -> Result<(), String> {
        let named = [
            ("appendfilename", &self.appendfilename),
            ("appenddirname", &self.appenddirname),
            ("dbfilename", &self.dbfilename),
        ];
        if self.appendfilename == self.dbfilename || self.appendfilename == self.appenddirname {
            let name = &self.appendfilename;
            return Err(format!("appendfilename '{name}' is another file's name, too"));
        }
        if self.appenddirname == self.dbfilename {
            return Err(format!("appenddirname and dbfilename are both '{}'", self.dbfilename));
        }
        for (option, name) in named {
            if is_temporary(name) {
                return Err(format!("{option} '{name}' is that of a temporary file"));
            }
            if let Some((other, _)) = named.iter().find(|(_, file)| is_beside(name, file)) {
                return Err(format!("{option} '{name}' is that of a file beside {other}"));
            }
        }
        let Some(socket) = &self.unixsocket else { return Ok(()) };
        let at = self.dir.join(socket);
        let name = at.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let among = at.parent() == self.dir.join("x").parent();
        let taken = |file: &str| name == file || is_beside(&name, file);
        if among && (is_temporary(&name) || named.iter().any(|(_, file)| taken(file))) {
            return Err(format!("unixsocket '{}' is another file's name, too", socket.display()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_beside_others() {
        for name in ["x.prev", "x.seal", "x.seal.prev", "x.manifest", "temp-x", "temp-x.seal", "x.converting"]
        {
            assert!(is_beside(name, "x"), "{name}");
        }
        for name in
            ["x", "x.rdb", "x.previous", "y.prev", "temp-xy", "x.prev.rdb", "temp-x.rdb", "xprev", "x."]
        {
            assert!(!is_beside(name, "x"), "{name}");
        }
    }
}
