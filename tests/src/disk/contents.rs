//! What is on a disk, and what of it would be there after a power cut.
//!
//! A change is first only in memory ("now"). It is safe when the file, for its bytes, or the directory, for its names, was
//! synced after it. At a power cut any part of the changes since then may have reached the disk already: of a file's, any
//! of them, in any order, the last one torn; of a directory's, those before any moment.
//! This is what POSIX promises; real file systems keep more.
//!
//! An fsync that fails drops the changes that it should have written, as Linux does: the next fsync succeeds without them.

use std::collections::BTreeMap;

/// A number of a file or directory.
pub(super) type Inode = u64;
/// The topmost directory.
pub(super) const ROOT: Inode = 1;

/// Why something could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Absent,
    NotADirectory,
    IsADirectory,
    NotEmpty,
    Full,
    Broken,
}

type Names = BTreeMap<String, Inode>;

#[derive(Debug)]
pub(super) struct Contents {
    nodes: BTreeMap<Inode, Node>,
    next: Inode,
    /// How many bytes all files together may have.
    capacity: u64,
    /// Every write and fsync fails.
    is_broken: bool,
}

#[derive(Debug)]
enum Node {
    File(File),
    Directory(Directory),
}

#[derive(Debug, Default)]
struct File {
    now: Vec<u8>,
    safe: Vec<u8>,
    /// What was done to it since it was synced.
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default)]
struct Directory {
    now: Names,
    safe: Names,
    /// What `now` was after each change since it was synced.
    unsynced: Vec<Names>,
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { at, data } => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }
}

impl Directory {
    fn change(&mut self, change: impl FnOnce(&mut Names)) {
        change(&mut self.now);
        self.unsynced.push(self.now.clone());
    }
}

impl Contents {
    pub(super) fn new(capacity: u64) -> Self {
        let root = Node::Directory(Directory::default());
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, capacity, is_broken: false }
    }

    pub(super) fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    pub(super) fn set_broken(&mut self, is_broken: bool) {
        self.is_broken = is_broken;
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How many bytes the files have that have a name. Those without one are gone for good, if nobody has them open.
    pub(super) fn used(&self) -> u64 {
        let names = self.nodes.values().filter_map(|node| match node {
            Node::Directory(directory) => Some(directory.now.values()),
            Node::File(_) => None,
        });
        let mut named: Vec<_> = names.flatten().copied().collect();
        named.sort_unstable();
        named.dedup();
        named.iter().filter_map(|inode| self.length(*inode)).sum()
    }

    pub(super) fn is_directory(&self, inode: Inode) -> Result<bool, Refusal> {
        Ok(matches!(self.nodes.get(&inode).ok_or(Refusal::Absent)?, Node::Directory(_)))
    }

    /// The length of a file; `None` for a directory and what is not there.
    pub(super) fn length(&self, inode: Inode) -> Option<u64> {
        match self.nodes.get(&inode)? {
            Node::File(file) => Some(file.now.len() as u64),
            Node::Directory(_) => None,
        }
    }

    pub(super) fn names(&self, directory: Inode) -> Result<&Names, Refusal> {
        match self.nodes.get(&directory).ok_or(Refusal::Absent)? {
            Node::Directory(directory) => Ok(&directory.now),
            Node::File(_) => Err(Refusal::NotADirectory),
        }
    }

    pub(super) fn find(&self, directory: Inode, name: &str) -> Result<Inode, Refusal> {
        self.names(directory)?.get(name).copied().ok_or(Refusal::Absent)
    }

    /// Makes a file or a directory.
    pub(super) fn make(
        &mut self,
        parent: Inode,
        name: &str,
        is_directory: bool,
    ) -> Result<Inode, Refusal> {
        self.write_allowed(0)?;
        let inode = self.next;
        self.directory(parent)?.change(|names| {
            names.insert(name.to_owned(), inode);
        });
        let node = if is_directory {
            Node::Directory(Directory::default())
        } else {
            Node::File(File::default())
        };
        self.nodes.insert(inode, node);
        self.next += 1;
        Ok(inode)
    }

    /// Gives a file another name as well.
    pub(super) fn link(&mut self, inode: Inode, parent: Inode, name: &str) -> Result<(), Refusal> {
        self.write_allowed(0)?;
        self.directory(parent)?.change(|names| {
            names.insert(name.to_owned(), inode);
        });
        Ok(())
    }

    pub(super) fn remove(&mut self, parent: Inode, name: &str) -> Result<(), Refusal> {
        let inode = self.find(parent, name)?;
        if self.is_directory(inode)? && !self.names(inode)?.is_empty() {
            return Err(Refusal::NotEmpty);
        }
        self.directory(parent)?.change(|names| {
            names.remove(name);
        });
        Ok(())
    }

    /// Renames within a directory are one change. A move to another directory is two, so that a power cut may leave both names
    /// or none, as on a file system without a journal.
    pub(super) fn rename(
        &mut self,
        (parent, name): (Inode, &str),
        (to_parent, to_name): (Inode, &str),
    ) -> Result<(), Refusal> {
        let inode = self.find(parent, name)?;
        if parent == to_parent {
            self.directory(parent)?.change(|names| {
                names.remove(name);
                names.insert(to_name.to_owned(), inode);
            });
            return Ok(());
        }
        self.directory(to_parent)?.change(|names| {
            names.insert(to_name.to_owned(), inode);
        });
        self.directory(parent)?.change(|names| {
            names.remove(name);
        });
        Ok(())
    }

    pub(super) fn read(&self, inode: Inode, at: u64, size: usize) -> Result<&[u8], Refusal> {
        let Some(Node::File(file)) = self.nodes.get(&inode) else {
            return Err(Refusal::IsADirectory);
        };
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(file.now.len());
        Ok(&file.now[from..file.now.len().min(from + size)])
    }

    pub(super) fn write(&mut self, inode: Inode, at: u64, data: &[u8]) -> Result<(), Refusal> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let length = self.length(inode).ok_or(Refusal::IsADirectory)? as usize;
        self.write_allowed((at + data.len()).saturating_sub(length) as u64)?;
        self.change(inode, Change::Write { at, data: data.to_vec() })
    }

    pub(super) fn set_length(&mut self, inode: Inode, length: u64) -> Result<(), Refusal> {
        let before = self.length(inode).ok_or(Refusal::IsADirectory)?;
        self.write_allowed(length.saturating_sub(before))?;
        self.change(inode, Change::Length(usize::try_from(length).unwrap_or(usize::MAX)))
    }

    /// Makes what was done to a file or a directory safe.
    pub(super) fn sync(&mut self, inode: Inode) -> Result<(), Refusal> {
        let is_broken = self.is_broken;
        match self.nodes.get_mut(&inode).ok_or(Refusal::Absent)? {
            Node::File(file) => {
                for change in file.unsynced.drain(..).filter(|_| !is_broken) {
                    change.apply(&mut file.safe);
                }
            }
            Node::Directory(directory) => {
                directory.unsynced.clear();
                if !is_broken {
                    directory.safe.clone_from(&directory.now);
                }
            }
        }
        if is_broken { Err(Refusal::Broken) } else { Ok(()) }
    }

    /// Forgets what is not safe, apart from a part of it that `choose` chooses: it gets a number, and returns a smaller one.
    /// Returns how many changes were forgotten.
    pub(super) fn cut_power(&mut self, mut choose: impl FnMut(usize) -> usize) -> usize {
        let mut forgotten = 0;
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => {
                    let unsynced = std::mem::take(&mut file.unsynced);
                    let torn = choose(unsynced.len() + 1);
                    for (at, change) in unsynced.into_iter().enumerate() {
                        match change {
                            Change::Write { at: from, mut data } if at == torn => {
                                data.truncate(choose(data.len() + 1));
                                Change::Write { at: from, data }.apply(&mut file.safe);
                            }
                            change if choose(3) > 0 => change.apply(&mut file.safe),
                            _ => forgotten += 1,
                        }
                    }
                    file.now.clone_from(&file.safe);
                }
                Node::Directory(directory) => {
                    let mut unsynced = std::mem::take(&mut directory.unsynced);
                    let kept = choose(unsynced.len() + 1);
                    forgotten += unsynced.len() - kept;
                    if kept > 0 {
                        directory.safe = unsynced.swap_remove(kept - 1);
                    }
                    directory.now.clone_from(&directory.safe);
                }
            }
        }
        self.forget_unnamed();
        forgotten
    }

    fn forget_unnamed(&mut self) {
        let mut named = vec![ROOT];
        let mut at = 0;
        while let Some(inode) = named.get(at) {
            let found = self.names(*inode).map(|names| names.values().copied().collect());
            named.extend(found.unwrap_or_else(|_| Vec::new()));
            at += 1;
        }
        self.nodes.retain(|inode, _| named.contains(inode));
    }

    fn directory(&mut self, inode: Inode) -> Result<&mut Directory, Refusal> {
        match self.nodes.get_mut(&inode).ok_or(Refusal::Absent)? {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(Refusal::NotADirectory),
        }
    }

    fn change(&mut self, inode: Inode, change: Change) -> Result<(), Refusal> {
        let Some(Node::File(file)) = self.nodes.get_mut(&inode) else {
            return Err(Refusal::IsADirectory);
        };
        change.apply(&mut file.now);
        file.unsynced.push(change);
        Ok(())
    }

    fn write_allowed(&self, more: u64) -> Result<(), Refusal> {
        if self.is_broken {
            Err(Refusal::Broken)
        } else if more > 0 && self.used() + more > self.capacity {
            Err(Refusal::Full)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file() -> (Contents, Inode) {
        let mut contents = Contents::new(100);
        let file = contents.make(ROOT, "file", false).unwrap();
        (contents, file)
    }

    #[test]
    fn what_was_synced_is_there_after_a_power_cut_and_nothing_else_has_to_be() {
        let (mut contents, file) = with_file();
        contents.write(file, 0, b"safe").unwrap();
        contents.sync(file).unwrap();
        contents.write(file, 4, b" and more").unwrap();
        contents.sync(ROOT).unwrap();
        contents.make(ROOT, "other", false).unwrap();
        contents.cut_power(|_| 0);
        assert_eq!(contents.read(file, 0, 100), Ok(&b"safe"[..]));
        assert_eq!(contents.find(ROOT, "other"), Err(Refusal::Absent));
    }

    #[test]
    fn what_was_not_synced_may_be_there_in_part() {
        let (mut contents, file) = with_file();
        contents.sync(ROOT).unwrap();
        contents.write(file, 0, b"one").unwrap();
        contents.write(file, 3, b"two").unwrap();
        let mut choices = [0, 1, 1, 2].into_iter();
        contents.cut_power(|_| choices.next().unwrap());
        assert_eq!(contents.read(file, 0, 100), Ok(&b"onetw"[..]), "the second write is torn");
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_missing_though_the_file_was() {
        let (mut contents, file) = with_file();
        contents.write(file, 0, b"safe").unwrap();
        contents.sync(file).unwrap();
        contents.cut_power(|_| 0);
        assert_eq!(contents.find(ROOT, "file"), Err(Refusal::Absent));
    }

    #[test]
    fn a_failed_sync_has_dropped_what_it_should_have_written() {
        let (mut contents, file) = with_file();
        contents.sync(ROOT).unwrap();
        contents.write(file, 0, b"lost").unwrap();
        contents.set_broken(true);
        assert_eq!(contents.sync(file), Err(Refusal::Broken));
        assert_eq!(contents.write(file, 4, b"more"), Err(Refusal::Broken));
        contents.set_broken(false);
        contents.sync(file).unwrap();
        assert_eq!(contents.read(file, 0, 100), Ok(&b"lost"[..]), "until the power is cut");
        contents.cut_power(|_| 0);
        assert_eq!(contents.read(file, 0, 100), Ok(&b""[..]));
    }

    #[test]
    fn a_full_disk_takes_no_more_until_something_is_removed() {
        let (mut contents, file) = with_file();
        contents.write(file, 0, &[0; 100]).unwrap();
        let other = contents.make(ROOT, "other", false).unwrap();
        assert_eq!(contents.write(other, 0, b"x"), Err(Refusal::Full));
        contents.write(file, 0, &[1; 100]).unwrap();
        contents.remove(ROOT, "file").unwrap();
        contents.write(other, 0, b"x").unwrap();
        assert_eq!(contents.used(), 1);
    }
}
