//! CONFIG.

use super::args::is;
use super::error::CommandError;
use super::help;
use crate::config::{self, Config};
use crate::engine::{Engine, Stats};
use crate::glob;
use crate::persist::complain;
use crate::resp::Out;
use crate::session::{Outcome, Session};

type Done = Result<Outcome, CommandError>;

/// CONFIG GET|SET|REWRITE|RESETSTAT|HELP
pub(super) fn config(engine: &mut Engine, _: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let sub = argv[1];
    if is(sub, "get") && argv.len() > 2 {
        get(&engine.config, &argv[2..], out);
    } else if is(sub, "set") && argv.len() > 3 {
        set(engine, &argv[2..])?;
        out.ok();
    } else if is(sub, "rewrite") && argv.len() == 2 {
        let Some(file) = &engine.config_file else {
            return Err(CommandError::fixed("ERR The server is running without a config file"));
        };
        config::rewrite(file, &engine.config)
            .map_err(|e| CommandError::text(format!("ERR Rewriting config file: {e}")))?;
        out.ok();
    } else if is(sub, "resetstat") && argv.len() == 2 {
        engine.stats = Stats { clients: engine.stats.clients, ..Stats::default() };
        (engine.hooks.hits, engine.hooks.misses, engine.hooks.expired_keys) = (0, 0, 0);
        out.ok();
    } else if is(sub, "help") && argv.len() == 2 {
        help::tell(help::CONFIG, out);
    } else if let Some(name) = ["get", "set", "rewrite", "resetstat", "help"].iter().find(|n| is(sub, n)) {
        return Err(CommandError::arity(&format!("config|{name}")));
    } else {
        return Err(CommandError::subcommand("CONFIG", sub));
    }
    Ok(Outcome::Done)
}

fn get(config: &Config, patterns: &[&[u8]], out: &mut Out) {
    let lower: Vec<Vec<u8>> = patterns.iter().map(|p| p.to_ascii_lowercase()).collect();
    let found: Vec<_> = config::names()
        .filter(|name| lower.iter().any(|p| glob::matches(p, name.as_bytes())))
        .filter_map(|name| config.get(name).map(|value| (name, value)))
        .collect();
    let given = config.inert.iter().map(|(name, value)| (*name, value));
    let given: Vec<_> =
        given.filter(|(name, _)| lower.iter().any(|p| glob::matches(p, name.as_bytes()))).collect();
    out.map(found.len() + given.len());
    for (name, value) in given {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    for (name, value) in found {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
}

/// Sets all or nothing.
fn set(engine: &mut Engine, pairs: &[&[u8]]) -> Result<(), CommandError> {
    if !pairs.len().is_multiple_of(2) {
        return Err(CommandError::arity("config|set"));
    }
    let mut new = engine.config.clone();
    let refused = |name: &str, why: &str| {
        CommandError::text(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
    };
    let (mut first, mut set) = (String::new(), Vec::new());
    for pair in pairs.chunks_exact(2) {
        let name = String::from_utf8_lossy(pair[0]).to_ascii_lowercase();
        let inert = !config::names().any(|n| n == name);
        if inert && !config::is_inert(&name) {
            let text = format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
            return Err(CommandError::text(text));
        }
        if set.contains(&name) {
            return Err(refused(&name, "duplicate parameter"));
        }
        set.push(name.clone());
        if config::immutable(&name) {
            return Err(refused(&name, "can't set immutable config"));
        }
        let value = std::str::from_utf8(pair[1]).map_err(|_| refused(&name, "argument is not UTF-8"))?;
        // CONFIG SET gives `save` as one string of words; a file gives the words.
        let words: Vec<&str> = if name == "save" && !value.is_empty() {
            value.split_ascii_whitespace().collect()
        } else {
            vec![value]
        };
        if name == "save" {
            new.save.clear();
        }
        let done = if inert { new.set_inert(&name, value) } else { new.set(&name, &words) };
        done.map_err(|why| refused(&name, &why))?;
        if first.is_empty() {
            first = name;
        }
    }
    new.check().map_err(|why| refused(&first, &why))?;
    engine
        .persistence
        .reconfigure(&new, &engine.keyspace, engine.now_ms)
        .map_err(|why| refused(&first, &why))?;
    engine.config = new;
    if let Some(warning) = engine.config.without_effect_among(&set) {
        // As a start says it.
        complain("CONFIG SET", &warning);
    }
    Ok(())
}
