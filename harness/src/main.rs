//! The `unplug` command.

fn main() -> std::process::ExitCode {
    unplug::cli::main()
}
