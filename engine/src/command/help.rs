//! What the subcommand HELP of a command says: the subcommands that there are, and what each takes here.

use crate::resp::Out;

/// Of CLIENT.
pub(super) const CLIENT: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    Return the name of the current connection.",
    "GETREDIR",
    "    Return -1: nothing is tracked here.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are ID, ADDR, LADDR, TYPE, USER (only default is there)",
    "    and SKIPME (YES|NO).",
    "LIST [TYPE <type> | ID <id> [<id> ...]]",
    "    Return information about client connections.",
    "NO-EVICT (ON|OFF)",
    "    Accepted; clients are never evicted here.",
    "NO-TOUCH (ON|OFF)",
    "    Accepted; it changes nothing here.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETINFO <attribute> <value>",
    "    Accepted; it is not kept.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    HELP,
    PRINTS,
];

/// Of COMMAND.
pub(super) const COMMAND: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return details about all commands.",
    "COUNT",
    "    Return the number of commands.",
    "DOCS [<command-name> ...]",
    "    Return which of the commands there are. There are no documentation details.",
    "GETKEYS <full-command>",
    "    Return the keys from a full command.",
    "INFO [<command-name> ...]",
    "    Return details about multiple commands, or about all.",
    "LIST [FILTERBY PATTERN <pattern>]",
    "    Return a list of all commands, or of those whose names match.",
    HELP,
    PRINTS,
];

/// Of CONFIG.
pub(super) const CONFIG: &[&str] = &[
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern> [<pattern> ...]",
    "    Return parameters matching the glob-like patterns and their values.",
    "SET <directive> <value> [<directive> <value> ...]",
    "    Set configuration directives: all of them, or none.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
    HELP,
    PRINTS,
];

/// Of DEBUG.
pub(super) const DEBUG: &[&str] = &[
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "LOADAOF",
    "    Flush the AOF buffers on disk and reload the AOF in memory.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>, or with <prefix> instead of 'key'.",
    "RELOAD [option ...]",
    "    Save the RDB on disk and reload it back to memory. Options are MERGE and NOSAVE.",
    "SET-ACTIVE-EXPIRE (0|1)",
    "    Setting it to 0 disables expiring keys in background when they are not accessed.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    HELP,
    PRINTS,
];

const HELP: &str = "HELP";
const PRINTS: &str = "    Prints this help.";

/// Sends the lines of one.
pub(super) fn tell(lines: &[&str], out: &mut Out) {
    out.array(lines.len());
    lines.iter().for_each(|line| out.simple(line));
}
