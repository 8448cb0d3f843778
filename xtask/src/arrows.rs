//! The crate arrows: which of our crates each of our crates uses. ARCHITECTURE.md draws them, and this compares its drawing
//! with cargo's own view of the workspace, in both directions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

/// The page with the drawing in its first fenced block.
const PAGE: &str = "ARCHITECTURE.md";

/// Crates, and what each uses in its product code. Tests may use more.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Compares the drawing with the workspace.
pub(crate) fn check() -> Result<()> {
    let page = fs::read_to_string(shell::root().join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let drawn = drawing(&page)?;
    let output = shell::cargo(&["metadata", "--format-version", "1", "--no-deps"]).output()?;
    let metadata = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let wrong = differences(&drawn, &workspace(&metadata)?);
    if wrong.is_empty() {
        println!("crate arrows: as {PAGE} draws them");
        return Ok(());
    }
    bail!("{PAGE} and the crates differ:\n  {}", wrong.join("\n  "))
}

/// The lines `crate -> crate crate` of the page's first fenced block. Each crate stands below those that it uses, so
/// there is no way back.
fn drawing(page: &str) -> Result<Arrows> {
    let block = page.split("```").nth(1).with_context(|| format!("{PAGE} has no drawing"))?;
    let mut arrows = Arrows::new();
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        let (name, used) =
            line.split_once("->").with_context(|| format!("{line:?} in {PAGE} is no arrow"))?;
        let used: BTreeSet<String> = used.split_whitespace().map(str::to_owned).collect();
        for one in &used {
            ensure!(arrows.contains_key(one), "in {PAGE}, {one} does not stand above {}", name.trim());
        }
        arrows.insert(name.trim().to_owned(), used);
    }
    Ok(arrows)
}

/// What cargo says.
fn workspace(metadata: &serde_json::Value) -> Result<Arrows> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap_or_default().to_owned();
    let names: BTreeSet<String> = packages.iter().map(name).collect();
    let used = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let for_product = dependencies.filter(|dependency| dependency["kind"].is_null());
        for_product.map(name).filter(|used| names.contains(used)).collect()
    };
    Ok(packages.iter().map(|package| (name(package), used(package))).collect())
}

fn differences(drawn: &Arrows, real: &Arrows) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, used) in real {
        let Some(shown) = drawn.get(name) else {
            wrong.push(format!("{name} is not drawn"));
            continue;
        };
        wrong.extend(used.difference(shown).map(|one| format!("{name} may not use {one}")));
        wrong.extend(shown.difference(used).map(|one| format!("{name} does not use {one}")));
    }
    let gone = drawn.keys().filter(|name| !real.contains_key(*name));
    wrong.extend(gone.map(|name| format!("{name} is no crate")));
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_drawing_and_the_crates_must_say_the_same() {
        let metadata = json!({ "packages": [
            { "name": "low", "dependencies": [{ "name": "serde", "kind": null }] },
            { "name": "high", "dependencies": [{ "name": "low", "kind": null }, { "name": "new", "kind": "dev" }] },
            { "name": "new", "dependencies": [{ "name": "low", "kind": null }] },
        ]});
        let real = workspace(&metadata).unwrap();
        let differ =
            |block: &str| differences(&drawing(&format!("# Page\n```\n{block}```\n")).unwrap(), &real);
        assert!(differ("low ->\nhigh -> low\n\nnew -> low\n").is_empty());
        assert_eq!(differ("low ->\nhigh ->\nnew -> low\n"), ["high may not use low"]);
        assert_eq!(differ("low ->\nnew -> low\nhigh -> low new\n"), ["high does not use new"]);
        assert_eq!(differ("low ->\nhigh -> low\nold ->\n"), ["new is not drawn", "old is no crate"]);
    }

    #[test]
    fn an_arrow_upwards_is_refused() {
        assert!(drawing("```\nlow -> high\nhigh ->\n```").is_err());
        assert!(drawing("no drawing").is_err());
    }
}
