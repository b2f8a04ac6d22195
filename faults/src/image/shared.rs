//! Images made of shared pages: neighbours differ in a page or two, and so does what it costs to hold, compare and
//! send them.

use crate::effect::PAGE;
use crate::event::{FileId, NodeKind};
use crate::image::disk::{Content, Disk, Kinds, Page, paths};
use crate::image::{Image, ImageNode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A tree of files whose contents are shared with the disk that it shows, and with other images of that disk.
#[derive(Clone, Debug, Default)]
pub struct SharedImage {
    /// Every name but the root, parents before children.
    pub(crate) entries: BTreeMap<Vec<u8>, Entry>,
    /// The files that have a name.
    pub(crate) files: BTreeMap<FileId, Arc<Content>>,
}

/// What a name stands for. Names of one file are its hard links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    Dir,
    Symlink(#[serde(with = "crate::bytes")] Vec<u8>),
    File(FileId),
}

impl SharedImage {
    /// The tree that a mount of this disk would show.
    pub(crate) fn of_disk(disk: &Disk, kinds: &Kinds) -> SharedImage {
        let mut image = SharedImage::default();
        for (path, file) in paths(&disk.dirs, kinds) {
            let entry = match kinds.get(&file) {
                Some(NodeKind::Dir) => Entry::Dir,
                Some(NodeKind::Symlink(target)) => Entry::Symlink(target.clone()),
                Some(NodeKind::File) | None => {
                    let content = || disk.files.get(&file).cloned().unwrap_or_default();
                    image.files.entry(file).or_insert_with(content);
                    Entry::File(file)
                }
            };
            image.entries.insert(path, entry);
        }
        image
    }

    /// Every name but the root's, in order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys().map(Vec::as_slice)
    }

    /// The same with its bytes in one piece for each file.
    pub fn image(&self) -> Image {
        let mut image = Image::default();
        for (path, entry, first) in self.walk() {
            let (kind, data, link_to) = match (entry, first) {
                (Entry::Dir, _) => (NodeKind::Dir, Vec::new(), None),
                (Entry::Symlink(target), _) => (NodeKind::Symlink(target.clone()), Vec::new(), None),
                (Entry::File(_), Some(first)) => (NodeKind::File, Vec::new(), Some(first.to_vec())),
                (Entry::File(file), None) => {
                    (NodeKind::File, self.files.get(file).map(|c| c.bytes()).unwrap_or_default(), None)
                }
            };
            image.nodes.insert(path.to_vec(), ImageNode { kind, data, link_to });
        }
        image
    }

    /// Every name with what it stands for, and the file's first name where this is a further one.
    pub(crate) fn walk(&self) -> impl Iterator<Item = (&[u8], &Entry, Option<&[u8]>)> {
        let mut firsts: BTreeMap<FileId, &[u8]> = BTreeMap::new();
        self.entries.iter().map(move |(path, entry)| {
            let first = match entry {
                Entry::File(file) => match firsts.get(file) {
                    Some(first) => Some(*first),
                    None => {
                        firsts.insert(*file, path);
                        None
                    }
                },
                _ => None,
            };
            (path.as_slice(), entry, first)
        })
    }
}

impl From<&Image> for SharedImage {
    fn from(image: &Image) -> SharedImage {
        let mut shared = SharedImage::default();
        let mut ids: BTreeMap<&[u8], FileId> = BTreeMap::new();
        for (path, node) in &image.nodes {
            let entry = match (&node.kind, &node.link_to) {
                (NodeKind::Dir, _) => Entry::Dir,
                (NodeKind::Symlink(target), _) => Entry::Symlink(target.clone()),
                (NodeKind::File, first) => {
                    // The first name comes first: it is the smallest.
                    let known = first.as_ref().and_then(|first| ids.get(first.as_slice()));
                    let file = known.copied().unwrap_or(FileId(ids.len() as u32 + 1));
                    ids.insert(path, file);
                    let content = || Arc::new(Content::of(&node.data));
                    shared.files.entry(file).or_insert_with(content);
                    Entry::File(file)
                }
            };
            shared.entries.insert(path.clone(), entry);
        }
        shared
    }
}

/// What makes one image of another: what goes over a socket instead of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Names that the other image does not have.
    gone: Vec<Vec<u8>>,
    /// Names that are new, or stand for something else.
    put: Vec<(Vec<u8>, Entry)>,
    /// Files that have no name any more.
    dropped: Vec<FileId>,
    files: Vec<FileDelta>,
}

/// What makes one content of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileDelta {
    file: FileId,
    size: u64,
    pages: Vec<PageDelta>,
}

/// One page, without the zeros at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PageDelta {
    page: u64,
    #[serde(with = "crate::bytes")]
    bytes: Vec<u8>,
}

/// A delta that does not fit the image that it is put on.
#[derive(Debug, thiserror::Error)]
#[error("this is no difference between two images: {0}")]
pub struct NoDelta(&'static str);

impl Delta {
    /// What makes `new` of `old`. Costs about a look at each page's address where the two share their pages.
    pub fn between(old: &SharedImage, new: &SharedImage) -> Delta {
        let gone = old.entries.keys().filter(|path| !new.entries.contains_key(*path)).cloned();
        let put = new.entries.iter().filter(|(path, entry)| old.entries.get(*path) != Some(entry));
        let dropped = old.files.keys().filter(|file| !new.files.contains_key(file)).copied();
        let nothing = Arc::default();
        let files = new.files.iter().filter_map(|(file, content)| {
            let before = old.files.get(file);
            if before.is_some_and(|before| Arc::ptr_eq(before, content)) {
                return None;
            }
            let pages = pages_between(before.unwrap_or(&nothing), content);
            let same = pages.is_empty() && before.is_some_and(|before| before.size == content.size);
            (!same).then_some(FileDelta { file: *file, size: content.size, pages })
        });
        Delta {
            files: files.collect(),
            gone: gone.collect(),
            put: put.map(|(path, entry)| (path.clone(), entry.clone())).collect(),
            dropped: dropped.collect(),
        }
    }

    /// Makes the new image of the old one.
    ///
    /// # Errors
    /// [`NoDelta`] where it cannot have been made from this image; the image is worthless then.
    pub fn apply(self, image: &mut SharedImage) -> Result<(), NoDelta> {
        for path in &self.gone {
            image.entries.remove(path).ok_or(NoDelta("a name that was never there is gone"))?;
        }
        image.entries.extend(self.put);
        for file in &self.dropped {
            image.files.remove(file).ok_or(NoDelta("a file that was never there is gone"))?;
        }
        for changed in self.files {
            let content = Arc::make_mut(image.files.entry(changed.file).or_default());
            content.size = changed.size;
            for PageDelta { page, bytes } in changed.pages {
                if bytes.is_empty() {
                    content.pages.remove(&page);
                    continue;
                }
                let mut whole = [0; PAGE as usize];
                whole.get_mut(..bytes.len()).ok_or(NoDelta("a page is too long"))?.copy_from_slice(&bytes);
                content.pages.insert(page, Arc::new(whole));
            }
        }
        let known = |entry: &Entry| match entry {
            Entry::File(file) => image.files.contains_key(file),
            _ => true,
        };
        if image.entries.values().all(known) { Ok(()) } else { Err(NoDelta("a file has no content")) }
    }
}

/// The pages in which two contents differ, each within its size: what lies behind an end is in no image, and was
/// not sent.
fn pages_between(old: &Content, new: &Content) -> Vec<PageDelta> {
    static ZEROS: Page = [0; PAGE as usize];
    let end = new.size.div_ceil(PAGE);
    let mut changed = Vec::new();
    let mut before = old.pages.range(..old.size.div_ceil(PAGE)).peekable();
    for (&page, bytes) in new.pages.range(..end) {
        while let Some((&only_old, _)) = before.next_if(|(other, _)| **other < page) {
            changed.push(PageDelta { page: only_old, bytes: Vec::new() });
        }
        let was = before.next_if(|(other, _)| **other == page).map(|(_, bytes)| bytes);
        if was.is_some_and(|was| Arc::ptr_eq(was, bytes)) || was.map_or(&ZEROS, |was| was) == &**bytes {
            continue;
        }
        let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        changed.push(PageDelta { page, bytes: bytes[..len].to_vec() });
    }
    changed.extend(before.map(|(&page, _)| PageDelta { page, bytes: Vec::new() }));
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(size: u64, pages: &[(u64, u8)]) -> Arc<Content> {
        let pages = pages.iter().map(|(page, byte)| (*page, Arc::new([*byte; PAGE as usize])));
        Arc::new(Content { size, pages: pages.collect() })
    }

    fn image(content: &Arc<Content>) -> SharedImage {
        let file = FileId(7);
        SharedImage {
            entries: [(b"f".to_vec(), Entry::File(file))].into(),
            files: [(file, Arc::clone(content))].into(),
        }
    }

    /// Goes through the images as a worker that is sent deltas does.
    fn chain(images: &[SharedImage]) {
        let (mut last, mut far) = (SharedImage::default(), SharedImage::default());
        for image in images {
            let sent = postcard::to_stdvec(&Delta::between(&last, image)).unwrap();
            postcard::from_bytes::<Delta>(&sent).unwrap().apply(&mut far).unwrap();
            assert_eq!(far.image(), image.image());
            last = image.clone();
        }
    }

    /// A page that was written, but lay behind the end of the file, was never sent. When the file grows over it, its
    /// address is no proof that the other side has it.
    #[test]
    fn a_page_behind_the_end_is_sent_when_the_end_moves() {
        let short = content(PAGE, &[(0, b'a'), (1, b'b')]);
        let mut long = short.as_ref().clone();
        long.size = 2 * PAGE;
        chain(&[image(&short), image(&Arc::new(long)), image(&short)]);
    }

    #[test]
    fn holes_come_and_go() {
        let size = 4 * PAGE - 5;
        let all = [
            content(size, &[(0, b'a'), (1, b'b'), (2, b'c'), (3, b'd')]),
            content(size, &[(0, b'a'), (2, b'c')]),
            content(size, &[(1, 0), (3, b'd')]),
            content(0, &[]),
            content(size, &[]),
        ];
        let images: Vec<SharedImage> = all.iter().chain(all.iter().rev()).map(image).collect();
        chain(&images);
    }

    #[test]
    fn equal_pages_at_other_addresses_are_not_sent() {
        let (a, b) = (content(8192, &[(0, 1), (1, 2)]), content(8192, &[(0, 1), (1, 2)]));
        assert_eq!(Delta::between(&image(&a), &image(&b)), Delta::default());
    }

    #[test]
    fn what_is_no_delta_is_refused() {
        let delta = Delta::between(&image(&content(1, &[])), &SharedImage::default());
        assert!(delta.apply(&mut SharedImage::default()).is_err());
        let page = PageDelta { page: 0, bytes: vec![1; 4097] };
        let delta = Delta {
            files: vec![FileDelta { file: FileId(1), size: 1, pages: vec![page] }],
            ..Delta::default()
        };
        assert!(delta.apply(&mut SharedImage::default()).is_err());
        let put = vec![(b"f".to_vec(), Entry::File(FileId(3)))];
        assert!(Delta { put, ..Delta::default() }.apply(&mut SharedImage::default()).is_err());
    }
}
