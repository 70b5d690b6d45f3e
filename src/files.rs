//! Files that are written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

/// Writes a file by `write` and puts it where `path` says once all of it is on the disk. What is there before stays as it
/// is until then, and for good if anything fails. `path` may be a link to a file, which is replaced and not the link, or a
/// device or a pipe, which gets what `write` has written.
///
/// # Errors
/// The error of `write`, or of the file system.
pub fn replace<E: From<io::Error>>(path: &Path, write: impl FnOnce(&mut File) -> Result<(), E>) -> Result<(), E> {
    let there = fs::metadata(path).ok();
    if is_by_number(path) || there.as_ref().is_some_and(|m| !m.is_file()) {
        return pass_on(path, write);
    }
    let target = if there.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
    let name = target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).map_or(PathBuf::from("."), Path::to_owned);
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    let mut part = tempfile::Builder::new();
    part.prefix(&prefix).suffix(".part");
    // As any other new file, not one for the owner alone.
    #[cfg(unix)]
    let part = part.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut part = part.tempfile_in(folder)?;
    if let Some(there) = there {
        part.as_file().set_permissions(there.permissions())?;
    }
    write(part.as_file_mut())?;
    part.as_file().sync_all()?;
    part.persist(&target).map_err(|e| e.error)?;
    Ok(())
}

/// True if a path names something that is open, such as `/dev/stdout`, and not a place for a file.
fn is_by_number(path: &Path) -> bool {
    ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder))
}

/// Writes to a file that nobody sees, and from there to `path`, which need not be one that can be gone back in.
fn pass_on<E: From<io::Error>>(path: &Path, write: impl FnOnce(&mut File) -> Result<(), E>) -> Result<(), E> {
    let mut to = OpenOptions::new().write(true).open(path)?;
    let mut file = tempfile::tempfile()?;
    write(&mut file)?;
    file.rewind()?;
    io::copy(&mut file, &mut to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn written(path: &Path, text: &str) -> io::Result<()> {
        replace(path, |f| f.write_all(text.as_bytes()))
    }

    #[test]
    fn a_file_is_replaced_when_all_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        written(&path, "one").unwrap();
        written(&path, "two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let failed: io::Result<()> = replace(&path, |f| {
            f.write_all(b"three")?;
            assert_eq!(fs::read(&path).unwrap(), b"two");
            Err(io::Error::other("no"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        assert!(written(&folder.path().join("no/a"), "x").is_err());
        assert!(written(folder.path(), "x").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        written(&file, "one").unwrap();
        // As the umask has it: more than the owner may read it, as a rule.
        let plain = File::create(folder.path().join("plain")).unwrap().metadata().unwrap().permissions();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode(), plain.mode());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        written(&link, "two").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_gets_what_is_written() {
        written(Path::new("/dev/null"), "x").unwrap();
        assert!(fs::metadata("/dev/null").is_ok_and(|m| !m.is_file()), "it is still there");
        assert!(written(Path::new("/dev/full"), "x").is_err());
    }
}
