//! Recovery of RESP servers: each life is a start of the server on the image.

use crate::dump::{Dump, Entry};
use crate::recovery::{Lives, Outcome};
use crate::target::client::{Client, ClientError};
use crate::target::policy::Policy;
use crate::target::resp_dump::dump;
use crate::target::resp_op::{canonical_key, canonical_list, canonical_string};
use crate::target::resp_starts::Starts;
use crate::target::server::{Program, Server, how, is_ready};
use crate::target::template::Template;
use crate::target::value::Value;
use crate::worker::serve::Unclear;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Recovers images by starting a server on them.
#[derive(Debug)]
pub struct RespRecovery {
    /// The server.
    pub program: Program,
    /// The policy that it was recorded under.
    pub policy: Policy,
    /// Further options.
    pub extra: Vec<(String, String)>,
    /// CPU time that one start may use before it counts as a hang.
    pub cpu: Duration,
    /// Real time after which a start that uses little CPU time is *not measured*.
    pub wall: Duration,
    /// How it is started.
    pub starts: Starts,
}

/// One life's end: what came back and what the probes added, or why there is nothing to say.
type LifeResult = Result<(Outcome, Dump), Unclear>;

/// How a life went wrong.
enum Trouble {
    /// The server is at fault.
    Outcome(Outcome),
    Unclear(String),
}

impl RespRecovery {
    /// Starts it, waits until it has loaded, and lets `then` talk to it.
    fn life(
        &self,
        template: Option<&mut Template>,
        dir: &Path,
        scratch: &Path,
        then: impl FnOnce(&Self, &mut Client, &mut Server) -> Result<(Dump, Dump), Trouble>,
    ) -> LifeResult {
        let socket = scratch.join("s");
        let _ = std::fs::remove_file(&socket);
        let log = scratch.join("log");
        let mut server = if let Some(template) = template {
            let fork = template.fork(dir, &log).map_err(|e| Unclear::Failed(format!("fork server: {e}")))?;
            Server::forked(fork, &log)
        } else {
            let command = self.program.command(dir, &socket, self.policy, &self.extra);
            Server::spawn(command, &log).map_err(|e| Unclear::Failed(e.to_string()))?
        };
        let talked = self.wait_ready(&mut server, &socket).and_then(|mut c| then(self, &mut c, &mut server));
        match talked {
            Ok((held, probes)) => Ok((Outcome::Recovered(held), probes)),
            Err(Trouble::Outcome(outcome)) => Ok((outcome, Dump::default())),
            Err(Trouble::Unclear(why)) => Err(Unclear::Failed(why)),
        }
    }

    fn wait_ready(&self, server: &mut Server, socket: &Path) -> Result<Client, Trouble> {
        let start = Instant::now();
        loop {
            match is_ready(socket, Duration::from_millis(100)) {
                Ok(Some(client)) => return Ok(client),
                Ok(None) => {}
                Err(e) => return Err(self.trouble(server, &e)),
            }
            if let Some(trouble) = self.look(server, start) {
                return Err(trouble);
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    /// Whether the server has ended, or has gone on for too long.
    fn look(&self, server: &mut Server, since: Instant) -> Option<Trouble> {
        if let Some(status) = server.ended() {
            let message = format!("{}; {}", how(status), server.log_tail());
            let crashed = status.signal().is_some();
            return Some(Trouble::Outcome(if crashed {
                Outcome::Crashed { message }
            } else {
                // An orderly end at start is a refusal, whatever the status says.
                Outcome::Refused { message }
            }));
        }
        self.overdue(server, since)
    }

    /// Whether a server that has not ended has gone on for too long.
    fn overdue(&self, server: &Server, since: Instant) -> Option<Trouble> {
        if server.cpu_time().is_some_and(|used| used > self.cpu) {
            return Some(Trouble::Outcome(Outcome::Hung { limit_ms: self.cpu.as_millis() as u64 }));
        }
        let waited = since.elapsed();
        (waited > self.wall).then(|| {
            Trouble::Unclear(format!("{} s without an end; {}", waited.as_secs(), server.log_tail()))
        })
    }

    /// What an error of the connection means: the server's end, if it has ended.
    fn trouble(&self, server: &mut Server, error: &ClientError) -> Trouble {
        // A dying server closes its sockets a moment before it can be waited for.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if let Some(trouble) = self.look(server, start) {
                return trouble;
            }
            if !matches!(error, ClientError::Closed { .. } | ClientError::Io(_)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        match error {
            ClientError::Refused(text) => Trouble::Outcome(Outcome::Refused { message: text.clone() }),
            other => Trouble::Unclear(format!("{other}; {}", server.log_tail())),
        }
    }

    fn dump(&self, client: &mut Client, server: &mut Server) -> Result<Dump, Trouble> {
        dump(client, self.wall).map_err(|e| self.trouble(server, &e))
    }

    /// The second life: what it holds, then the probes, then an orderly end.
    fn probe_and_stop(&self, client: &mut Client, server: &mut Server) -> Result<(Dump, Dump), Trouble> {
        let held = self.dump(client, server)?;
        let refused = |what: &str, reply: &Value| {
            Trouble::Outcome(Outcome::Refused { message: format!("after recovery, {what}: {reply:?}") })
        };
        let probes = probes();
        let commands: Vec<Vec<Vec<u8>>> = probes.iter().map(|(command, _)| command.clone()).collect();
        let replies = client.pipeline(&commands, self.wall).map_err(|e| self.trouble(server, &e))?;
        for ((command, expected), reply) in probes.iter().zip(&replies) {
            if reply != expected {
                return Err(refused(&String::from_utf8_lossy(&command.join(&b' ')), reply));
            }
        }
        if !self.policy.appends() {
            match client.call(&["SAVE"], self.wall).map_err(|e| self.trouble(server, &e))? {
                Value::Simple(ok) if ok == b"OK" => {}
                other => return Err(refused("SAVE", &other)),
            }
        }
        match client.call(&["SHUTDOWN"], self.wall) {
            Err(ClientError::Closed { .. } | ClientError::Io(_)) => {}
            Ok(reply) => return Err(refused("SHUTDOWN", &reply)),
            Err(e) => return Err(self.trouble(server, &e)),
        }
        let start = Instant::now();
        loop {
            if let Some(status) = server.ended() {
                if status.success() {
                    return Ok((held, probe_dump()));
                }
                let message = format!("after recovery, SHUTDOWN: {}; {}", how(status), server.log_tail());
                return Err(Trouble::Outcome(Outcome::Crashed { message }));
            }
            // Not `look`: that the server ends in this very moment is what was asked for, and no refusal.
            if let Some(trouble) = self.overdue(server, start) {
                return Err(trouble);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

impl RespRecovery {
    /// The three lives, by one way of starting.
    pub(super) fn lives_by(
        &self,
        mut template: Option<&mut Template>,
        dir: &Path,
        scratch: &Path,
        alone: bool,
    ) -> Result<Lives, Unclear> {
        let convict = |(outcome, probes): (Outcome, Dump)| match outcome {
            Outcome::Crashed { .. } | Outcome::Hung { .. } if !alone => Err(Unclear::Suspect),
            outcome => Ok((outcome, probes)),
        };
        let look = |this: &Self, client: &mut Client, server: &mut Server| {
            Ok((this.dump(client, server)?, Dump::default()))
        };
        let (first, _) = self.life(template.as_deref_mut(), dir, scratch, look).and_then(convict)?;
        let mut lives = Lives { first, second: None, third: None, probes: Dump::default() };
        if let Outcome::Recovered(_) = lives.first {
            let second = self.life(template.as_deref_mut(), dir, scratch, Self::probe_and_stop);
            let (second, probes) = second.and_then(convict)?;
            let goes_on = matches!(second, Outcome::Recovered(_));
            (lives.second, lives.probes) = (Some(second), probes);
            if goes_on {
                lives.third = Some(self.life(template, dir, scratch, look).and_then(convict)?.0);
            }
        }
        Ok(lives)
    }
}

/// The probes and the replies that they must get: keys that no workload has.
pub fn probes() -> Vec<(Vec<Vec<u8>>, Value)> {
    let command = |args: &[&str]| args.iter().map(|a| a.as_bytes().to_vec()).collect::<Vec<_>>();
    vec![
        (command(&["SET", "unplug:probe:s", "written after recovery"]), Value::Simple(b"OK".to_vec())),
        (command(&["INCR", "unplug:probe:n"]), Value::Int(1)),
        (command(&["INCR", "unplug:probe:n"]), Value::Int(2)),
        (command(&["RPUSH", "unplug:probe:l", "a", "b"]), Value::Int(2)),
    ]
}

/// What the probes add to a dump.
pub fn probe_dump() -> Dump {
    let entry = |value| Entry { value, expires_at_ms: None };
    Dump(
        [
            (canonical_key(0, b"unplug:probe:s"), entry(canonical_string(b"written after recovery"))),
            (canonical_key(0, b"unplug:probe:n"), entry(canonical_string(b"2"))),
            (canonical_key(0, b"unplug:probe:l"), entry(canonical_list([&b"a"[..], b"b"]))),
        ]
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::serve::Recover;

    /// Debian's server, where it is installed; these tests say nothing without it, and say so.
    fn redis(policy: Policy) -> Option<RespRecovery> {
        let program = Program::Server("redis-server".into());
        if program.name().is_err() {
            let required = std::env::var_os("UNPLUG_REQUIRE_REDIS").is_some();
            assert!(!required, "redis-server is required, and missing");
            eprintln!("NOT MEASURED: no redis-server in PATH");
            return None;
        }
        let (cpu, wall) = (Duration::from_secs(5), Duration::from_secs(60));
        Some(RespRecovery { program, policy, extra: Vec::new(), cpu, wall, starts: Starts::default() })
    }

    fn recover(policy: Policy, files: &[(&str, &[u8])]) -> Option<Lives> {
        let mut recovery = redis(policy)?;
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        for (path, bytes) in files {
            let path = image.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        std::fs::create_dir_all(&image).unwrap();
        Some(recovery.lives(&image, dir.path(), 0, true).unwrap())
    }

    fn held(outcome: &Outcome) -> Vec<(String, String, Option<u64>)> {
        let Outcome::Recovered(dump) = outcome else { panic!("{outcome:?}") };
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        dump.0.iter().map(|(k, e)| (text(k), text(&e.value), e.expires_at_ms)).collect()
    }

    fn aof(commands: &[&[&str]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for command in commands {
            crate::target::value::encode_command(&mut bytes, command);
        }
        bytes
    }

    #[test]
    fn a_servers_three_lives_on_an_append_only_file() {
        let incr = aof(&[
            &["SELECT", "0"],
            &["SET", "k", "v w"],
            &["PEXPIREAT", "k", "9999999999999"],
            &["RPUSH", "l", "a", ""],
            &["SELECT", "3"],
            &["SET", "k", "other"],
        ]);
        let manifest = b"file appendonly.aof.1.incr.aof seq 1 type i\n";
        let files: [(&str, &[u8]); 2] = [
            ("appendonlydir/appendonly.aof.manifest", manifest),
            ("appendonlydir/appendonly.aof.1.incr.aof", &incr),
        ];
        let Some(lives) = recover(Policy::Always, &files) else { return };
        assert_eq!(
            held(&lives.first),
            [
                ("0/k".into(), "string v w".into(), Some(9_999_999_999_999)),
                ("0/l".into(), "list 1:a,0:,".into(), None),
                ("3/k".into(), "string other".into(), None),
            ]
        );
        assert_eq!(lives.second.as_ref(), Some(&lives.first));
        let Some(Outcome::Recovered(third)) = lives.third else { panic!("{:?}", lives.third) };
        let Outcome::Recovered(mut all) = lives.first else { unreachable!() };
        all.0.extend(probe_dump().0);
        assert_eq!(third, all);
        assert_eq!(lives.probes, probe_dump());
    }

    #[test]
    fn an_empty_directory_is_an_empty_store_that_takes_writes() {
        for policy in Policy::ALL {
            let Some(lives) = recover(policy, &[]) else { return };
            assert_eq!(lives.first, Outcome::Recovered(Dump::default()), "{policy}");
            assert_eq!(lives.third, Some(Outcome::Recovered(probe_dump())), "{policy}");
        }
    }

    #[test]
    fn a_server_that_will_not_load_refuses() {
        let manifest = b"file appendonly.aof.1.incr.aof seq 1 type i\n";
        let Some(lives) = recover(Policy::No, &[("appendonlydir/appendonly.aof.manifest", manifest)]) else {
            return;
        };
        let Outcome::Refused { message } = lives.first else { panic!("{:?}", lives.first) };
        assert!(message.contains("exit status: 1") && message.contains(".incr.aof"), "{message}");
        assert_eq!((lives.second, lives.third), (None, None));
    }
}
