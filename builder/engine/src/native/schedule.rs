//! Runs the stages of a plan: each as soon as those it needs are done, a bounded number at once. When one fails, the
//! others are ended, and the first failure is the one that is told.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use builder_plan::{Base, Plan, PlannedStage, StageId, base_key};
use tokio::task::JoinSet;

use super::session::Session;
use super::stage::{Position, run_stage};
use crate::cancel::Cancel;
use crate::error::{EngineError, Result};

type Positions = HashMap<StageId, Position>;

/// Runs all stages. `outer` is the caller's token; the session's own is cancelled when a stage fails.
pub(super) async fn run_stages(session: &Arc<Session>, plan: &Plan, outer: &Cancel) -> Result<()> {
    let (mut started, mut finished) = (BTreeSet::new(), BTreeSet::new());
    let mut positions = Positions::new();
    let mut running = JoinSet::new();
    let mut failure = None;
    loop {
        if failure.is_none() {
            for id in plan.ready(&started, &finished) {
                let Some(stage) = plan.stage(id) else { continue };
                if running.len() == session.request.stages_at_once.max(1) {
                    break;
                }
                started.insert(id);
                match start(session, stage, &positions) {
                    Ok(position) => {
                        let work = run_stage(
                            Arc::clone(session),
                            stage.clone(),
                            position,
                            sources(stage, &positions),
                        );
                        running.spawn(async move { (id, work.await) });
                    }
                    Err(error) => {
                        note(&mut failure, error);
                        session.cancel.cancel();
                    }
                }
            }
        }
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            () = outer.cancelled(), if !session.cancel.is_cancelled() => {
                session.cancel.cancel();
                continue;
            }
        };
        match ended {
            None => break,
            Some(Ok((id, Ok(position)))) => {
                finished.insert(id);
                positions.insert(id, position);
            }
            Some(Ok((_, Err(error)))) => note(&mut failure, error),
            Some(Err(error)) => note(&mut failure, EngineError::interrupted("a stage")(error)),
        }
        if failure.is_some() {
            session.cancel.cancel();
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Keeps the failure that caused the others.
fn note(failure: &mut Option<EngineError>, error: EngineError) {
    if matches!(failure, None | Some(EngineError::Cancelled)) {
        *failure = Some(error);
    }
}

/// Where a stage begins.
fn start(session: &Arc<Session>, stage: &PlannedStage, positions: &Positions) -> Result<Position> {
    match &stage.base {
        Base::Scratch => Ok(Position { key: base_key(None, &stage.platform), snapshot: None, image: None }),
        Base::Image(image) => {
            let image = session.image(image)?;
            if session.image_stages.contains(&stage.id) {
                session.add_base_layers(&image.layers);
            }
            let key = image.key(&stage.platform);
            Ok(Position { key, snapshot: image.snapshot(), image: Some(Arc::clone(image)) })
        }
        Base::Stage(id) => positions.get(id).cloned().ok_or_else(|| EngineError::Interrupted {
            what: "a stage",
            reason: "the stage it starts from has not run".to_owned(),
        }),
    }
}

fn sources(stage: &PlannedStage, positions: &Positions) -> Positions {
    stage.needs.iter().filter_map(|id| Some((*id, positions.get(id)?.clone()))).collect()
}
