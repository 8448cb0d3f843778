//! The test of the test: each kind of loss, made by hand between the crash and the restart, has to be found; and
//! nothing may be found where nothing was lost.

use std::time::Duration;

use anyhow::{Result, bail};
use rand::{SeedableRng, rngs::StdRng};

use super::{
    rounds::{Death, Options, Site, Summary},
    server::start_whole,
    tamper::Tamper,
    verify,
};

/// How long the writers work: long enough for every kind of thing to exist.
const WORK: Duration = Duration::from_millis(900);

/// Tries each loss, and none. Gives what each was found by.
pub fn self_test(options: &Options) -> Result<Vec<String>> {
    let mut told = Vec::new();
    let losses = std::iter::once(None).chain(Tamper::ALL.into_iter().map(Some));
    for (place, loss) in losses.enumerate() {
        let mut random = StdRng::seed_from_u64(options.seed.wrapping_add(place as u64));
        let mut site = Site::new(options, options.seed.wrapping_add(place as u64))?;
        let victim = start_whole(&options.binary, site.data())?;
        let (_, logs) = site.work(victim, &mut random, Death::AtRest(WORK))?;
        let mut faults = Vec::new();
        for mut log in logs {
            faults.append(&mut log.faults);
            site.model.add(log);
        }
        // Once without a loss, so that the model knows what is there.
        let victim = start_whole(&options.binary, site.data())?;
        let keys = site.model.touched();
        faults.extend(verify::settle(&mut site.model, victim.server(), &keys));
        faults.extend(site.go_on(victim.server(), &mut Summary::default(), |_| false));
        victim.kill()?;
        site.report(options, "before anything was lost", faults)?;
        if let Some(loss) = loss {
            loss.apply(site.data(), &site.model, &site.sessions)?;
        }
        let found = site.close(options, &mut Summary::default())?;
        match (loss, found.first()) {
            (None, None) => told.push("nothing lost: nothing found".to_owned()),
            (None, Some(_)) => site.report(options, "although nothing was lost", found)?,
            (Some(loss), None) => bail!("{loss:?} was not found (seed {})", options.seed),
            (Some(loss), Some(first)) => {
                told.push(format!("{loss:?}: {} found, the first is: {first}", found.len()))
            }
        }
    }
    Ok(told)
}
