//! Images: a crash state as a tree of files, hashed, laid out in a directory.

mod disk;
mod found;
mod layout;
mod shared;
mod standing;
mod tree;

pub(crate) use disk::{Content, Dirs, Disk, Kinds, Page, paths, put_data, rename_entries};
pub(crate) use shared::Entry;
pub(crate) use tree::{hash_dir, hash_file, hash_link, hash_sector, hash_symlink};

pub use layout::{LayOut, LayOutError};
pub use shared::{Delta, NoDelta, SharedImage};
pub use tree::{Image, ImageHash, ImageNode};
