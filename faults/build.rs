//! Compiles the preloaded libraries (`shim/lib.rs`, `shim/fork_server/lib.rs`) with the compiler that compiles this
//! crate.
//!
//! They cannot be dependencies: their exported symbols would be linked into every test binary, and a nested
//! package would be left out by `cargo package`.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(unplug_shim)");
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    if var("CARGO_CFG_TARGET_OS") != "linux" || var("CARGO_CFG_TARGET_ARCH") != "x86_64" {
        // `Recorder::start` says so with an error of its own.
        return;
    }
    // Initialised before every other library, so that it sees their calls as well.
    if !compile("unplug_shim", "shim/lib.rs", &["-Clink-arg=-Wl,-z,initfirst"])
        || !compile("unplug_fork_server", "shim/fork_server/lib.rs", &[])
    {
        return;
    }
    println!("cargo::rustc-cfg=unplug_shim");
}

fn compile(name: &str, source: &str, more: &[&str]) -> bool {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let out = PathBuf::from(var("OUT_DIR")).join(format!("lib{name}.so"));
    let status = Command::new(var("RUSTC"))
        .args(["--crate-name", name, "--crate-type", "cdylib", "--edition", "2024"])
        .args(["--target", &var("TARGET"), "-Cpanic=abort", "-Cforce-frame-pointers=yes"])
        // A shim without optimisation is two to three times slower, so every profile optimises it.
        .args(["-Copt-level=3", "-Ccodegen-units=1", "-Cstrip=debuginfo", "-Clink-arg=-Wl,-z,now"])
        .args(more)
        .arg("-o")
        .arg(&out)
        .arg(source)
        .status();
    match status {
        Ok(status) if status.success() => return true,
        Ok(status) => println!("cargo::error={source} does not compile: {status}"),
        Err(error) => println!("cargo::error=cannot run the compiler for {source}: {error}"),
    }
    false
}
