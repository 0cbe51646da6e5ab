//! Owners, access rights and file systems, as Unix has them.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};

use super::Trust;

/// `Err`: the reason, and the remedy.
pub(super) fn trusted(path: &Path, metadata: &Metadata, trust: Trust) -> Result<(), (String, String)> {
    let (mode, owner, me) = (metadata.mode() & 0o7777, metadata.uid(), geteuid().as_raw());
    let path = path.display();
    let group = trust.shared_with_group && is_member(metadata.gid());
    // A directory that is shared with a group belongs to one of its members; the others come in through the group.
    if owner != me && !(group && mode & 0o020 != 0) {
        let reason = format!("it belongs to user {owner}, and this process runs as user {me}");
        return Err((reason, "choose a directory of your own".to_owned()));
    }
    if mode & 0o002 != 0 {
        let reason = format!("anyone may write there (mode {mode:04o})");
        let remedy =
            format!("run `chmod o-w '{path}'` and delete what is in it, or choose another directory");
        return Err((reason, remedy));
    }
    if mode & 0o020 != 0 && !group {
        let reason = format!("its group may write there (mode {mode:04o}, group {})", metadata.gid());
        let remedy = match trust.shared_with_group {
            true => "choose one that belongs to a group of yours".to_owned(),
            false => format!("run `chmod g-w '{path}'`, or say that it is shared with the group"),
        };
        return Err((reason, remedy));
    }
    Ok(())
}

fn is_member(gid: u32) -> bool {
    getegid().as_raw() == gid
        || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

/// The group that a shared directory belongs to.
pub(super) struct GroupOf(u32);

impl GroupOf {
    pub(super) fn directory(metadata: &Metadata) -> GroupOf {
        GroupOf(metadata.gid())
    }

    /// A new directory has its maker's group, unless the one above hands its own down.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        let metadata = std::fs::symlink_metadata(path)?;
        if metadata.gid() != self.0 {
            chown(path, None, Some(self.0))?;
            // Which takes the bit away that hands the group down.
            std::fs::set_permissions(path, metadata.permissions())?;
        }
        Ok(())
    }
}

/// The name of the file system that `path` is on, if other machines may change it too.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn network(path: &Path) -> io::Result<Option<String>> {
    let magic = rustix::fs::statfs(path)?.f_type as u32;
    Ok(network_name(magic).map(str::to_owned))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn network_name(magic: u32) -> Option<&'static str> {
    NETWORK.iter().find(|(_, magics)| magics.contains(&magic)).map(|(name, _)| *name)
}

/// From `linux/magic.h` and the file systems' own sources.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NETWORK: &[(&str, &[u32])] = &[
    ("NFS", &[0x6969]),
    ("SMB", &[0x517b, 0xfe53_4d42, 0xff53_4d42]),
    ("9p", &[0x0102_1997]),
    ("FUSE or virtiofs", &[0x6573_5546]),
    ("AFS", &[0x5346_414f, 0x6b41_4653]),
    ("Ceph", &[0x00c3_6400]),
    ("Coda", &[0x7375_7245]),
    ("NCP", &[0x564c]),
    ("GFS2", &[0x0116_1970]),
    ("OCFS2", &[0x7461_636f]),
    ("Lustre", &[0x0bd0_0bd0]),
    ("GPFS", &[0x4750_4653]),
    ("BeeGFS", &[0x1983_0326]),
    ("OrangeFS", &[0x2003_0528]),
    ("VirtualBox shared folder", &[0x786f_4256]),
    ("VMware shared folder", &[0xbacb_acbc]),
    ("Parallels shared folder", &[0x7c7c_6673]),
];

/// These systems say it outright.
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
pub(super) fn network(path: &Path) -> io::Result<Option<String>> {
    /// From `sys/mount.h`.
    const MNT_LOCAL: u64 = 0x1000;
    let stat = rustix::fs::statfs(path)?;
    Ok((u64::from(stat.f_flags) & MNT_LOCAL == 0).then(|| "not local".to_owned()))
}

/// Not known here: the user must know.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd")))]
pub(super) fn network(_path: &Path) -> io::Result<Option<String>> {
    Ok(None)
}
