//! Where cargo keeps the sources of Burn that these tests are built with.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names of packages, and their folders.
type Sources = Vec<(String, PathBuf)>;

/// The packages of Burn this crate is built with, and their folders. `None`, with a line that says why, where cargo does
/// not tell; in CI that is an error.
pub fn burn_sources() -> Result<Option<Sources>, Box<dyn Error>> {
    match find() {
        Ok(sources) => Ok(Some(sources)),
        Err(why) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: {why}");
            Ok(None)
        }
        Err(why) => Err(why),
    }
}

fn find() -> Result<Sources, Box<dyn Error>> {
    let run = |program: &str, variable: &str, arguments: &[&str]| -> Result<Vec<u8>, Box<dyn Error>> {
        let program = std::env::var_os(variable).unwrap_or_else(|| program.into());
        let output = Command::new(&program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
        if !output.status.success() {
            return Err(format!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(output.stdout)
    };
    // Without a platform, cargo asks for packages of every platform, which a build does not fetch.
    let version = String::from_utf8(run("rustc", "RUSTC", &["-vV"])?)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc names no host")?;
    let arguments = ["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host];
    let metadata: serde_json::Value = serde_json::from_slice(&run("cargo", "CARGO", &arguments)?)?;

    // Other versions of Burn may be in the graph: only the edges of this package tell which one is ours.
    let nodes = metadata["resolve"]["nodes"].as_array().ok_or("no resolved packages")?;
    let root = nodes.iter().find(|node| node["id"] == metadata["resolve"]["root"]).ok_or("no root package")?;
    let packages = metadata["packages"].as_array().ok_or("no packages")?;
    let mut sources = Vec::new();
    for dependency in root["deps"].as_array().ok_or("no dependencies")? {
        let Some(name) = dependency["name"].as_str().filter(|name| name.starts_with("burn_")) else { continue };
        let package = packages.iter().find(|package| package["id"] == dependency["pkg"]).ok_or("no such package")?;
        let manifest = package["manifest_path"].as_str().ok_or("no manifest")?;
        sources.push((name.to_string(), Path::new(manifest).parent().ok_or("no folder")?.to_path_buf()));
    }
    Ok(sources)
}
