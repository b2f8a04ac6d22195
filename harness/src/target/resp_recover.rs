//! Recovery of RESP servers: each life is a start of the server on the image.

use crate::dump::{Dump, Entry};
use crate::recovery::{Lives, Outcome};
use crate::target::client::{Client, ClientError};
use crate::target::options::value_of;
use crate::target::policy::Policy;
use crate::target::resp_dump::{First, dump};
use crate::target::resp_guess::Guess;
use crate::target::resp_op::{canonical_key, canonical_list, canonical_string};
use crate::target::resp_starts::Starts;
use crate::target::server::{Program, Server, how, not_yet};
use crate::target::template::Template;
use crate::target::value::Value;
use crate::worker::serve::Unclear;
use crate::worker::three::{Between, Lived, Part, three_lives};
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

/// How a life went wrong.
enum Trouble {
    /// The server is at fault.
    Outcome(Outcome),
    Unclear(String),
}

/// How long a server that does not answer is left alone before its process is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// How long a connection that is not taken yet is waited for.
const PAUSE: Duration = Duration::from_micros(300);
/// How often a server that is about to end is looked at without a pause.
const AT_ONCE: u32 = 100;

impl RespRecovery {
    /// Starts it, waits until it has loaded, and reads all; then, if `part` says so, has it write and stop.
    fn life(
        &self,
        mut template: Option<&mut Template>,
        (dir, scratch): (&Path, &Path),
        part: Part<'_>,
    ) -> Lived {
        let socket = scratch.join("s");
        let _ = std::fs::remove_file(&socket);
        let log = scratch.join("log");
        self.starts.made.set(self.starts.made.get() + 1);
        // A fork that cannot be made is no result: the start is made in the other way.
        let fork = template.as_mut().and_then(|template| template.fork(dir, &log).ok());
        let mut server = if let Some(fork) = fork {
            Server::forked(fork, &log)
        } else {
            let command = self.program.command(dir, &socket, self.policy, &self.extra);
            Server::spawn(command, &log).map_err(|e| Unclear::Failed(e.to_string()))?
        };
        let guess = self.starts.guess.take();
        let (held, mut client) = match self.first_dump(&mut server, &socket, &guess) {
            Ok(read) => read,
            Err(Trouble::Outcome(outcome)) => return Ok((outcome, None)),
            Err(Trouble::Unclear(why)) => return Err(Unclear::Failed(why)),
        };
        *self.starts.guess.borrow_mut() = Guess::of(&held);
        if !part.goes_on(&held) {
            return Ok((Outcome::Recovered(held), None));
        }
        self.starts.guess.borrow_mut().add(&probe_dump());
        let written = self.probe(&mut client, &mut server).and_then(|()| {
            if let Some(template) = template {
                template.learn(server.pid());
            }
            self.stop(&mut client, &mut server)
        });
        match (written, part) {
            (Ok(()), _) => Ok((Outcome::Recovered(held), Some(probe_dump()))),
            // Which half of a life that was two is to blame shows when they are two.
            (Err(Trouble::Outcome(_)), Part::Both(_)) => Err(Unclear::Suspect),
            (Err(Trouble::Outcome(outcome)), _) => Ok((outcome, None)),
            (Err(Trouble::Unclear(why)), _) => Err(Unclear::Failed(why)),
        }
    }

    /// What the server holds, once it has loaded it, and the connection by which that was read.
    fn first_dump(
        &self,
        server: &mut Server,
        socket: &Path,
        guess: &Guess,
    ) -> Result<(Dump, Client), Trouble> {
        let start = Instant::now();
        loop {
            match Client::connect(socket) {
                Ok(mut client) => {
                    if let Some(first) = self.first_answers(server, &mut client, (guess, start))? {
                        let dump = dump(&mut client, &first, self.wall);
                        return Ok((dump.map_err(|e| self.trouble(server, &e))?, client));
                    }
                }
                Err(e) if not_yet(&e) => {}
                Err(e) => return Err(self.trouble(server, &e.into())),
            }
            if let Some(trouble) = self.look(server, start) {
                return Err(trouble);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks until it has loaded its data; `None` where the connection ends before.
    fn first_answers<'a>(
        &self,
        server: &mut Server,
        client: &mut Client,
        (guess, start): (&'a Guess, Instant),
    ) -> Result<Option<First<'a>>, Trouble> {
        let mut asked = 0_u32;
        loop {
            let count = match First::ask(client, guess, self.wall) {
                Ok(count) => count,
                Err(e) => return self.lost(server, &e),
            };
            let mut answers = Vec::with_capacity(count);
            while answers.len() < count {
                match client.reply(GLANCE) {
                    Ok(reply) => answers.push(reply.value),
                    Err(ClientError::Silent(_)) => self.look(server, start).map_or(Ok(()), Err)?,
                    Err(e) => return self.lost(server, &e),
                }
            }
            match First::read(answers, guess) {
                Ok(Some(first)) => return Ok(Some(first)),
                Ok(None) => self.look(server, start).map_or(Ok(()), Err)?,
                Err(e) => return Err(self.trouble(server, &e)),
            }
            // A server answers as it begins to load, and then when it has loaded a good deal: of a small image the
            // second question finds it ready.
            if asked > 1 {
                std::thread::sleep(PAUSE);
            }
            asked += 1;
        }
    }

    /// Of an error before the first answer: whether another connection may be tried.
    fn lost<T>(&self, server: &mut Server, error: &ClientError) -> Result<Option<T>, Trouble> {
        match error {
            // The server's end, perhaps: the caller looks at the process.
            ClientError::Closed { .. } => Ok(None),
            ClientError::Io(e) if not_yet(e) => Ok(None),
            e => Err(self.trouble(server, e)),
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

    /// Writes the probes.
    fn probe(&self, client: &mut Client, server: &mut Server) -> Result<(), Trouble> {
        let mut probes = probes();
        // Without a log what was written is kept by a snapshot only.
        if value_of("appendonly", self.policy, &self.extra) != Some("yes") {
            probes.push((vec![b"SAVE".to_vec()], Value::Simple(b"OK".to_vec())));
        }
        let commands: Vec<Vec<Vec<u8>>> = probes.iter().map(|(command, _)| command.clone()).collect();
        let replies = client.pipeline(&commands, self.wall).map_err(|e| self.trouble(server, &e))?;
        for ((command, expected), reply) in probes.iter().zip(&replies) {
            if reply != expected {
                return Err(refused(&String::from_utf8_lossy(&command.join(&b' ')), reply));
            }
        }
        Ok(())
    }

    /// Has it end in order.
    fn stop(&self, client: &mut Client, server: &mut Server) -> Result<(), Trouble> {
        match client.call(&["SHUTDOWN"], self.wall) {
            Err(ClientError::Closed { .. } | ClientError::Io(_)) => {}
            Ok(reply) => return Err(refused("SHUTDOWN", &reply)),
            Err(e) => return Err(self.trouble(server, &e)),
        }
        let start = Instant::now();
        for looked in 0_u32.. {
            if let Some(status) = server.ended() {
                if status.success() {
                    return Ok(());
                }
                let message = format!("after recovery, SHUTDOWN: {}; {}", how(status), server.log_tail());
                return Err(Trouble::Outcome(Outcome::Crashed { message }));
            }
            // Not `look`: that the server ends in this very moment is what was asked for, and no refusal.
            if let Some(trouble) = self.overdue(server, start) {
                return Err(trouble);
            }
            // What has closed its sockets is all but gone.
            if looked < AT_ONCE { std::thread::yield_now() } else { std::thread::sleep(PAUSE) }
        }
        Ok(())
    }
}

fn refused(what: &str, reply: &Value) -> Trouble {
    Trouble::Outcome(Outcome::Refused { message: format!("after recovery, {what}: {reply:?}") })
}

impl RespRecovery {
    /// The three lives, by one way of starting.
    pub(super) fn lives_by(
        &self,
        mut template: Option<&mut Template>,
        ground: (&Path, &Path),
        alone: bool,
        between: Between<'_>,
    ) -> Result<Lives, Unclear> {
        let lives = three_lives(alone, between, |part| self.life(template.as_deref_mut(), ground, part));
        lives.map(|(lives, _)| lives)
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
