//! The contents as a file system of the kernel (FUSE).

use std::{
    ffi::OsStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::contents::{Contents, Inode, Refusal};

/// Nothing is cached by the kernel, because everything is in memory already.
const UNCACHED: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;

#[derive(Clone)]
pub(super) struct Mounted(pub(super) Arc<Mutex<Contents>>);

impl From<Refusal> for Errno {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Absent => Self::ENOENT,
            Refusal::NotADirectory => Self::ENOTDIR,
            Refusal::IsADirectory => Self::EISDIR,
            Refusal::NotEmpty => Self::ENOTEMPTY,
            Refusal::Full => Self::ENOSPC,
            Refusal::Broken => Self::EIO,
        }
    }
}

fn text(name: &OsStr) -> Result<&str, Errno> {
    name.to_str().ok_or(Errno::EINVAL)
}

fn attributes(contents: &Contents, inode: Inode) -> Result<FileAttr, Refusal> {
    let is_directory = contents.is_directory(inode)?;
    let size = contents.length(inode).unwrap_or_default();
    Ok(FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_directory { FileType::Directory } else { FileType::RegularFile },
        perm: if is_directory { 0o755 } else { 0o644 },
        nlink: 1,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    })
}

fn answer(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_entry(reply: ReplyEntry, made: Result<FileAttr, Errno>) {
    match made {
        Ok(attributes) => reply.entry(&UNCACHED, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

impl Mounted {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, is_directory: bool) -> Result<FileAttr, Errno> {
        let mut contents = self.contents();
        let inode = contents.make(parent.0, text(name)?, is_directory)?;
        Ok(attributes(&contents, inode)?)
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let contents = self.contents();
        let find = || Ok(attributes(&contents, contents.find(parent.0, text(name)?)?)?);
        answer_entry(reply, find());
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.contents(), inode.0) {
            Ok(attributes) => reply.attr(&UNCACHED, &attributes),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut contents = self.contents();
        let changed = size.map_or(Ok(()), |size| contents.set_length(inode.0, size));
        match changed.and_then(|()| attributes(&contents, inode.0)) {
            Ok(attributes) => reply.attr(&UNCACHED, &attributes),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        answer_entry(reply, self.make(parent, name, true));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.make(parent, name, false) {
            Ok(attributes) => reply.created(
                &UNCACHED,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::empty(),
            ),
            Err(error) => reply.error(error),
        }
    }

    fn link(&self, _: &Request, inode: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut contents = self.contents();
        let mut link = || {
            contents.link(inode.0, parent.0, text(name)?)?;
            Ok(attributes(&contents, inode.0)?)
        };
        answer_entry(reply, link());
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = text(name).and_then(|name| Ok(self.contents().remove(parent.0, name)?));
        answer(reply, removed);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            if !flags.is_empty() {
                return Err(Errno::EINVAL);
            }
            let (from, to) = ((parent.0, text(name)?), (to_parent.0, text(to_name)?));
            Ok(self.contents().rename(from, to)?)
        };
        answer(reply, rename());
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.contents().read(inode.0, offset, size as usize) {
            Ok(data) => reply.data(data),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match self.contents().write(inode.0, offset, data) {
            Ok(()) => reply.written(length),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mut contents = self.contents();
        let allocate = || {
            if mode != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            let end = contents.length(inode.0).unwrap_or_default().max(offset + length);
            Ok(contents.set_length(inode.0, end)?)
        };
        answer(reply, { allocate }());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(reply, self.contents().sync(inode.0).map_err(Errno::from));
    }

    fn fsyncdir(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        data: bool,
        reply: ReplyEmpty,
    ) {
        self.fsync(request, inode, handle, data, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let contents = self.contents();
        let names = match contents.names(inode.0) {
            Ok(names) => names,
            Err(refusal) => return reply.error(refusal.into()),
        };
        let here = [(".", inode.0), ("..", inode.0)];
        let all = here.into_iter().chain(names.iter().map(|(name, inode)| (name.as_str(), *inode)));
        for (at, (name, inode)) in
            (1..).zip(all).skip(usize::try_from(offset).unwrap_or(usize::MAX))
        {
            let is_directory = contents.is_directory(inode).unwrap_or_default();
            let kind = if is_directory { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(inode), at, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let contents = self.contents();
        let (capacity, used) = (contents.capacity(), contents.used());
        let free = capacity.saturating_sub(used) / u64::from(BLOCK);
        reply.statfs(capacity / u64::from(BLOCK), free, free, 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }
}
