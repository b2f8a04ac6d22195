//! A client that fills servers and waits for them, and redis-benchmark.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::Result;

/// Commands sent before their replies are read.
const BATCH: usize = 1_000;

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Result<Client> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    fn send(&mut self, commands: impl Iterator<Item = Vec<String>>) -> Result<usize> {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for command in commands {
            write!(bytes, "*{}\r\n", command.len())?;
            for word in &command {
                write!(bytes, "${}\r\n{word}\r\n", word.len())?;
            }
            count += 1;
        }
        self.stream.get_mut().write_all(&bytes)?;
        Ok(count)
    }

    /// One reply: its first line, or the text of a bulk string.
    fn receive(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err("the server closed the connection".into());
        }
        let line = line.trim_end().to_owned();
        match line.strip_prefix('$').and_then(|len| len.parse::<usize>().ok()) {
            Some(len) => {
                let mut text = vec![0; len + 2];
                self.stream.read_exact(&mut text)?;
                Ok(String::from_utf8_lossy(&text[..len]).into_owned())
            }
            None => Ok(line),
        }
    }

    /// One command and its reply; an error reply is an error.
    pub(crate) fn call(&mut self, words: &[&str]) -> Result<String> {
        self.send(std::iter::once(words.iter().map(|w| (*w).to_owned()).collect()))?;
        let reply = self.receive()?;
        if reply.starts_with('-') { Err(reply.into()) } else { Ok(reply) }
    }

    /// Sets `keys` small keys to small values.
    pub(crate) fn fill(&mut self, keys: usize) -> Result<()> {
        self.fill_with(keys, "+OK", |n| vec!["SET".to_owned(), format!("key:{n:012}"), format!("val{n}")])
    }

    /// Executes `command` for each number of a key; each is to get this reply.
    pub(crate) fn fill_with(
        &mut self,
        keys: usize,
        reply: &str,
        command: impl Fn(usize) -> Vec<String>,
    ) -> Result<()> {
        for begin in (0..keys).step_by(BATCH) {
            let end = keys.min(begin + BATCH);
            for _ in 0..self.send((begin..end).map(&command))? {
                let found = self.receive()?;
                if found != reply {
                    return Err(format!("{}: {found}", command(begin)[0]).into());
                }
            }
        }
        Ok(())
    }

    fn info(&mut self, field: &str) -> Result<String> {
        let text = self.call(&["INFO", "persistence"])?;
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.ok_or_else(|| format!("INFO has no {field}"))?.trim().to_owned())
    }

    /// Starts a background job, waits until INFO says that it is over, and gives the longest time that a SET
    /// of another client took meanwhile, and the median.
    pub(crate) fn pause_during(&mut self, job: &str, other: &mut Client) -> Result<Pause> {
        let running = if job == "BGSAVE" { "rdb_bgsave_in_progress" } else { "aof_rewrite_in_progress" };
        // The job's own reply is a client's pause as well: the fork is in it.
        let (begun, mut times, mut n) = (Instant::now(), Vec::new(), 0usize);
        self.call(&[job])?;
        let fork = begun.elapsed();
        while self.info(running)? == "1" {
            for _ in 0..200 {
                // Keys all over the place, so that the child's pages have to be copied.
                n = (n + 7_919) % 1_000_000;
                let sent = Instant::now();
                other.call(&["SET", &format!("key:{n:012}"), "new"])?;
                times.push(sent.elapsed());
            }
        }
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        Ok(Pause { longest: times.last().copied().unwrap_or_default().max(fork), median })
    }

    /// Waits for the end of what runs in the background.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for field in ["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled"] {
            while self.info(field)? == "1" {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

/// How long a client waited while a job ran.
pub(crate) struct Pause {
    pub(crate) longest: Duration,
    pub(crate) median: Duration,
}

/// Runs redis-benchmark; gives the requests of a second.
pub(crate) fn redis_benchmark(port: u16, pipeline: usize, requests: usize) -> Result<f64> {
    let (port, pipeline, requests) = (port.to_string(), pipeline.to_string(), requests.to_string());
    let out = Command::new("redis-benchmark")
        .args(["-p", &port, "-t", "set", "-c", "50", "-P", &pipeline, "-n", &requests, "--csv"])
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().find(|l| l.starts_with("\"SET\"")).ok_or("redis-benchmark printed no figures")?;
    let rate = line.split(',').nth(1).unwrap_or_default().trim_matches('"');
    Ok(rate.parse()?)
}
