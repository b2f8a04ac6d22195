//! Operations that a store has answered with an error.

use crate::testing::error::CheckError;
use crate::testing::store::{Recorded, Store, StoreModel};
use std::collections::BTreeMap;
use unplug_faults::event::Op;
use unplug_faults::trace::Trace;

/// Which operations the store has answered with an error, in words: an operation that fails promises nothing.
///
/// # Errors
/// [`CheckError::NothingDone`]: all of them.
pub(super) fn failed_operations<S: Store>(trace: &Trace) -> Result<Option<String>, CheckError> {
    let mut names = BTreeMap::new();
    let (mut failed, mut done, mut first) = (0u64, 0u64, None);
    for event in &trace.events {
        match &event.op {
            Op::Invoke { id, op, .. } => drop(names.insert(*id, op)),
            Op::Reply { id, reply, .. } => match postcard::from_bytes(reply) {
                Ok(Recorded::Error(why)) => {
                    failed += 1;
                    first = first.or_else(|| {
                        let op = postcard::from_bytes::<S::Op>(names.get(id)?).ok()?;
                        Some(format!("{}: {why}", S::Model::describe(&op)))
                    });
                }
                _ => done += 1,
            },
            _ => {}
        }
    }
    match first {
        Some(first) if done == 0 => Err(CheckError::NothingDone { operations: failed, first }),
        Some(first) => {
            Ok(Some(format!("{failed} of {} operations failed, the first: {first}", failed + done)))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::MapOp;
    use crate::oracle::testing::TraceBuilder;
    use crate::testing::store::Map;
    use crate::testing::{BoxError, Reply};

    struct Toy;

    impl Store for Toy {
        type Op = MapOp;
        type Model = Map;
        fn open(_: &std::path::Path) -> Result<Self, BoxError> {
            Ok(Toy)
        }
        fn apply(&mut self, _: &MapOp) -> Result<Reply, BoxError> {
            Ok(Reply::DONE)
        }
        fn dump(&mut self) -> Result<crate::dump::Dump, BoxError> {
            Ok(Default::default())
        }
    }

    fn told(replies: &[Recorded]) -> Result<Option<String>, CheckError> {
        let mut b = TraceBuilder::new();
        for (n, reply) in replies.iter().enumerate() {
            let op = postcard::to_stdvec(&MapOp::put(format!("k{n}"), "v")).unwrap();
            b.run(&op, &postcard::to_stdvec(reply).unwrap());
        }
        failed_operations::<Toy>(&b.trace())
    }

    #[test]
    fn a_store_that_refuses_everything_is_not_measured() {
        let (done, failed) = (Recorded::Done(Reply::DONE), Recorded::Error("not yet".into()));
        assert!(matches!(told(&[]), Ok(None)));
        assert!(matches!(told(std::slice::from_ref(&done)), Ok(None)));
        let some = told(&[done, failed.clone(), failed.clone()]).unwrap().unwrap();
        assert_eq!(some, "2 of 3 operations failed, the first: put k1=v: not yet");
        let all = told(&[failed.clone(), failed]).unwrap_err().to_string();
        assert_eq!(all, "all of the 2 operations failed, the first: put k0=v: not yet");
    }
}
