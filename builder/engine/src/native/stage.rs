//! One stage, step by step: what an earlier build did is taken over, the rest is executed. A step's result is recorded
//! when its snapshot is whole, and is valid only over the very snapshot it was made on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use builder_plan::{PlannedStage, StageId, Step, StepKey, StepKind, run_key, workdir_key};
use builder_store::store::{SnapshotId, StepRecord, Upper};
use builder_store::{Result as StoreResult, StoreError};
use registry_types::Digest;

use super::blocking::blocking;
use super::image::BaseImage;
use super::session::Session;
use crate::error::{Result, StepProblem};
use crate::event::{Event, StepId, StepOutcome};

/// How far a stage has come.
#[derive(Debug, Clone)]
pub(super) struct Position {
    pub(super) key: StepKey,
    /// Its files; `None` for an empty tree.
    pub(super) snapshot: Option<SnapshotId>,
    /// The image at its bottom, whose snapshots may have to be made before files are needed.
    pub(super) image: Option<Arc<BaseImage>>,
}

/// What a step came to.
type Stepped = (Position, StepOutcome);

pub(super) async fn run_stage(
    session: Arc<Session>,
    stage: PlannedStage,
    mut position: Position,
    sources: HashMap<StageId, Position>,
) -> Result<Position> {
    let begun = Instant::now();
    let number = stage.id.0;
    let steps = stage.steps.iter().filter(|step| step.makes_layer()).count();
    session.events.tell(Event::StageStarted { stage: number, name: stage.name.clone(), steps });
    for (index, step) in stage.steps.iter().enumerate().filter(|(_, step)| step.makes_layer()) {
        session.cancel.check()?;
        let id = StepId { stage: number, step: index };
        let begun = Instant::now();
        let (text, line) = (step.text.clone(), step.line);
        session.events.tell(Event::StepStarted { step: id, stage_name: stage.name.clone(), text, line });
        let stepped = execute(&session, &stage, step, id, &position, &sources).await;
        let outcome = stepped.as_ref().map_or(StepOutcome::Failed, |(_, outcome)| *outcome);
        session.events.tell(Event::StepEnded { step: id, outcome, duration: begun.elapsed() });
        position = stepped.map_err(|problem| session.step_error(step, problem))?.0;
        if let Some(snapshot) = position.snapshot.filter(|_| session.image_stages.contains(&stage.id)) {
            session.start_layer(id, snapshot);
        }
    }
    session.events.tell(Event::StageDone { stage: number, duration: begun.elapsed() });
    Ok(position)
}

async fn execute(
    session: &Arc<Session>,
    stage: &PlannedStage,
    step: &Step,
    id: StepId,
    position: &Position,
    sources: &HashMap<StageId, Position>,
) -> Result<Stepped, StepProblem> {
    match &step.kind {
        StepKind::Run(run) => {
            let key = run_key(&position.key, run, &stage.platform);
            if let Some(known) = session.known(position, key).await? {
                return Ok(known);
            }
            let tier = session.tier().await?;
            let run = run.clone();
            session
                .make(position, key, move |session, upper| {
                    super::run::run_blocking(session, upper, run, tier, id)
                })
                .await
        }
        StepKind::Workdir(workdir) => {
            let key = workdir_key(&position.key, workdir);
            if let Some(known) = session.known(position, key).await? {
                return Ok(known);
            }
            let workdir = workdir.clone();
            session
                .make(position, key, move |session, upper| {
                    super::workdir::make_blocking(session, upper, &workdir)
                })
                .await
        }
        StepKind::Copy(copy) => {
            let source = session.copy_source(&copy.from, sources).await?;
            let selected = session.select(copy, source).await?;
            let key = builder_plan::copy_key(&position.key, copy, &selected.content);
            if let Some(known) = session.known(position, key).await? {
                return Ok(known);
            }
            let copy = copy.clone();
            session
                .make(position, key, move |session, upper| {
                    super::copy::copy_blocking(session, upper, &copy, &selected)
                })
                .await
        }
        StepKind::Config => Ok((position.clone(), StepOutcome::Done)),
    }
}

impl Session {
    /// The result of an earlier build, if it was made over the same files.
    async fn known(
        self: &Arc<Self>,
        position: &Position,
        key: StepKey,
    ) -> Result<Option<Stepped>, StepProblem> {
        if self.request.no_cache {
            return Ok(None);
        }
        let (session, parent) = (Arc::clone(self), position.snapshot);
        let snapshot = blocking("reading the store", move || {
            Ok::<_, StepProblem>(session.recorded_blocking(&key, parent.as_ref())?)
        });
        Ok(snapshot.await?.map(|snapshot| (position.behind(key, snapshot), StepOutcome::Cached)))
    }

    fn recorded_blocking(
        &self,
        key: &StepKey,
        parent: Option<&SnapshotId>,
    ) -> StoreResult<Option<SnapshotId>> {
        let Some(record) = self.record_blocking(key.digest())? else { return Ok(None) };
        let snapshot = self.store().snapshots.get(&record.snapshot)?;
        Ok(snapshot.filter(|snapshot| snapshot.parent.as_ref() == parent).map(|snapshot| snapshot.id))
    }

    /// A record of the store. One that cannot be read is worth no failed build.
    pub(super) fn record_blocking(&self, key: &Digest) -> StoreResult<Option<StepRecord>> {
        match self.store().step(key) {
            Err(StoreError::Record { path, reason }) => {
                self.events.warn(format!("the record {} is damaged and not used: {reason}", path.display()));
                Ok(None)
            }
            record => record,
        }
    }

    /// Executes a step over the files of `position`. `work` fills the upper directory.
    async fn make(
        self: &Arc<Self>,
        position: &Position,
        key: StepKey,
        work: impl FnOnce(&Arc<Self>, &Upper) -> Result<(), StepProblem> + Send + 'static,
    ) -> Result<Stepped, StepProblem> {
        self.make_files(position).await?;
        let (session, parent) = (Arc::clone(self), position.snapshot);
        let made = blocking("a step", move || {
            let upper = session.store().snapshots.prepare(parent.as_ref())?;
            work(&session, &upper)?;
            // Cancelled at the last moment: a command may have ended early and still with code 0.
            session.cancel.check()?;
            let id = snapshot_id(&key, parent.as_ref(), session.request.no_cache);
            let snapshot = upper.commit(id)?.id;
            session.store().steps.insert(key.digest(), &StepRecord { snapshot, layer: None })?;
            Ok::<_, StepProblem>(snapshot)
        });
        let snapshot = made.await.map_err(|problem| self.or_cancelled_step(problem))?;
        Ok((position.behind(key, snapshot), StepOutcome::Done))
    }

    /// Makes sure that the files of a position are on this machine.
    pub(super) async fn make_files(self: &Arc<Self>, position: &Position) -> Result<()> {
        match &position.image {
            Some(image) => self.unpack(image).await,
            None => Ok(()),
        }
    }
}

impl Position {
    /// The position behind a step.
    fn behind(&self, key: StepKey, snapshot: SnapshotId) -> Self {
        Self { key, snapshot: Some(snapshot), image: self.image.clone() }
    }
}

/// Names what a step makes by its key and by what it is made on. Without the cache the result is a new one, which must
/// not be taken for that of an earlier build.
fn snapshot_id(key: &StepKey, parent: Option<&SnapshotId>, is_new: bool) -> SnapshotId {
    let parent = parent.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let distinction = if is_new { uuid::Uuid::new_v4().to_string() } else { String::new() };
    SnapshotId::from_key(Digest::sha256(format!("step {key} on {parent} {distinction}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use builder_plan::base_key;
    use registry_types::Platform;

    use super::*;

    #[test]
    fn a_snapshot_is_named_by_its_key_and_its_parent() {
        let platform = Platform::host();
        let keys = [base_key(None, &platform), base_key(Some(&Digest::sha256(b"")), &platform)];
        let parents = [None, Some(SnapshotId::from_key(Digest::sha256(b"parent")))];
        let ids: Vec<_> = keys
            .iter()
            .flat_map(|key| parents.iter().map(|parent| snapshot_id(key, parent.as_ref(), false)))
            .collect();
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(snapshot_id(&keys[0], None, false), ids[0]);
        assert_ne!(snapshot_id(&keys[0], None, true), snapshot_id(&keys[0], None, true));
    }
}
