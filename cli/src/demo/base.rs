//! The build context of a small base image from this machine's own files: busybox if it is there, else a shell with
//! the libraries it needs and the few programs the sample uses.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::failed;
use crate::failure::Failure;

/// Where a static busybox usually is.
const BUSYBOX: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/sbin/busybox"];
/// Programs of busybox that get links, so that scripts find them.
const APPLETS: [&str; 6] = ["sh", "cat", "echo", "ls", "mkdir", "chmod"];
/// Shells and programs to take instead, each from the first place where it is.
const PROGRAMS: [&str; 5] = ["sh", "cat", "ls", "mkdir", "chmod"];
const PLACES: [&str; 2] = ["/bin", "/usr/bin"];

/// Writes the context and gives the shell it is made from.
pub(super) fn write_context(context: &Path) -> Result<PathBuf, Failure> {
    let root = context.join("root");
    for folder in ["bin", "etc", "tmp", "usr/local/bin"] {
        fs::create_dir_all(root.join(folder)).map_err(failed)?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
        .map_err(failed)?;
    fs::write(root.join("etc/group"), "root:x:0:\nnobody:x:65534:\n").map_err(failed)?;
    let busybox = BUSYBOX.iter().map(Path::new).find(|path| is_static(path));
    let shell = match busybox {
        Some(busybox) => {
            fs::copy(busybox, root.join("bin/busybox")).map_err(failed)?;
            for applet in APPLETS {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).map_err(failed)?;
            }
            busybox.to_owned()
        }
        None => copy_programs(&root)?,
    };
    fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nCOPY root/ /\nENV PATH=/usr/local/bin:/bin\nCMD [\"/bin/sh\"]\n",
    )
    .map_err(failed)?;
    Ok(shell)
}

/// Copies the programs and every library that they name, under the paths where their loader looks for them.
fn copy_programs(root: &Path) -> Result<PathBuf, Failure> {
    let mut needed = BTreeSet::new();
    let mut shell = None;
    for program in PROGRAMS {
        let source = PLACES.iter().map(|place| Path::new(place).join(program)).find(|path| path.exists());
        let source = source
            .ok_or_else(|| Failure::Failed(format!("this machine has no {program} to put into an image")))?;
        fs::copy(&source, root.join("bin").join(program)).map_err(failed)?;
        needed.extend(libraries(&source));
        shell.get_or_insert(source);
    }
    for library in needed {
        let target = root.join(library.strip_prefix("/").unwrap_or(&library));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::copy(&library, &target).map_err(failed)?;
    }
    shell.ok_or_else(|| Failure::Failed("this machine has no shell to put into an image".to_owned()))
}

/// Whether a program runs without a loader: a 64-bit ELF file without a program header of type PT_INTERP (ELF
/// specification, "Program Header").
fn is_static(program: &Path) -> bool {
    const INTERPRETER: u32 = 3;
    let Ok(bytes) = fs::read(program) else { return false };
    let number = |offset: usize, length: usize| {
        let field = bytes.get(offset..offset + length)?;
        Some(field.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)))
    };
    // Magic, 64 bits, little endian: what this machine's own programs are.
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        return false;
    }
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return false;
    };
    (0..count).all(|index| {
        let header = usize::try_from(table + index * size).ok();
        header.and_then(|header| number(header, 4)).is_some_and(|kind| kind != u64::from(INTERPRETER))
    })
}

/// The libraries and the loader of a program, as the loader itself lists them; none for a static program.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let Ok(output) = Command::new("ldd").arg(program).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .flat_map(|line| line.split_whitespace())
        .filter(|word| word.starts_with('/'))
        .map(|word| PathBuf::from(word.trim_end_matches(':')))
        .filter(|path| path != program && path.exists())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        assert!(!is_static(&std::env::current_exe().unwrap()), "a test binary has a loader");
        assert!(!is_static(Path::new("/etc/passwd")) && !is_static(Path::new("/no/such/file")));
    }
}
