//! The list of rights: names, types and actions are compared as they are, and nothing is a pattern.

use serde_json::json;

use super::world::{Rows, entry};

pub(super) fn add(rows: &mut Rows) {
    names(rows);
    actions(rows);
    kinds(rows);
    shapes(rows);
}

fn names(rows: &mut Rows) {
    for name in [
        "team",
        "team/",
        "team/ap",
        "team/app2",
        "team/app/",
        "/team/app",
        "team//app",
        "team/app//",
        "team/app.",
        "team/app..",
        "team/./app",
        "team/x/../app",
        "team/app/..",
        "team/app/.",
        "Team/app",
        "TEAM/APP",
        "team/App",
        "team/app/api",
        "app",
        "*",
        "**",
        "*/*",
        "team/*",
        "team/**",
        "team/?pp",
        "team/[a]pp",
        "team/a*",
        "te*/app",
        "team/app*",
        ".*",
        "^team/app$",
        "team/app|x",
        "team%2Fapp",
        "team%2fapp",
        "team\\app",
        "team:app",
        "team/app:1",
        "team/app@sha256",
        "localhost/team/app",
        "127.0.0.1:5000/team/app",
        "",
        " ",
        "team/app ",
        " team/app",
        "team/app\0",
        "team/app\n",
        "team/\u{430}pp",
        "team/app\u{200b}",
        "te\u{2044}am/app",
        "team,team/app",
        "team/app,team/secret",
        "team/app team/secret",
        "team/app?x",
        "team/app#x",
        "~/team/app",
        "${team/app}",
    ] {
        rows.access(&format!("rights on {name:?}"), 401, json!([entry("repository", name, &["*"])]));
    }
    rows.access(
        "rights on a name of 64 KiB's share",
        401,
        json!([entry("repository", &"team/app/".repeat(900), &["*"])]),
    );
    rows.access("rights on the name itself", 200, json!([entry("repository", "team/app", &["pull"])]));
}

fn actions(rows: &mut Rows) {
    for action in [
        "",
        " ",
        "PULL",
        "Pull",
        " pull",
        "pull ",
        "pull,push",
        "pull push",
        "pul",
        "pulls",
        "pu*",
        "**",
        "*,pull",
        "* ",
        "pull\0",
        "push",
        "delete",
        "read",
        "get",
        "GET",
        "all",
        "admin",
        "any",
        ".*",
        "!push",
    ] {
        rows.access(
            &format!("the action {action:?}"),
            401,
            json!([entry("repository", "team/app", &[action])]),
        );
    }
    rows.access("no action", 401, json!([entry("repository", "team/app", &[])]));
    rows.access("all actions but pull", 401, json!([entry("repository", "team/app", &["push", "delete"])]));
    rows.access("the action *", 200, json!([entry("repository", "team/app", &["*"])]));
    rows.access(
        "pull among unknown actions",
        200,
        json!([entry("repository", "team/app", &["fly", "pull"])]),
    );
}

fn kinds(rows: &mut Rows) {
    for kind in [
        "",
        " ",
        "Repository",
        "REPOSITORY",
        "repository ",
        " repository",
        "repositories",
        "repo",
        "repository(plugin)",
        "repository(image)",
        "registry",
        "*",
        "project",
        "group",
        "repository\0",
        "repository:team/app",
    ] {
        rows.access(&format!("the type {kind:?}"), 401, json!([entry(kind, "team/app", &["*"])]));
    }
}

fn shapes(rows: &mut Rows) {
    let good = entry("repository", "team/app", &["*"]);
    for (what, access) in [
        ("no list but a text", json!("repository:team/app:*")),
        ("no list but an object", good.clone()),
        ("a list of texts", json!(["repository:team/app:*"])),
        ("a list of lists", json!([["repository", "team/app", ["*"]]])),
        ("a list of lists with all members", json!([["repository", "team/app", ["*"], null]])),
        ("a list in a list", json!([[good]])),
        ("a number", json!(7)),
        ("true", json!(true)),
        ("null", json!(null)),
        ("an empty list", json!([])),
        ("an empty entry", json!([{}])),
        ("a null entry beside a good one", json!([null, good])),
        ("an entry without type", json!([{"name": "team/app", "actions": ["*"]}])),
        ("an entry without name", json!([{"type": "repository", "actions": ["*"]}])),
        ("an entry without actions", json!([{"type": "repository", "name": "team/app"}])),
        ("null actions", json!([{"type": "repository", "name": "team/app", "actions": null}])),
        ("actions in one text", json!([{"type": "repository", "name": "team/app", "actions": "*"}])),
        (
            "actions in an object",
            json!([{"type": "repository", "name": "team/app", "actions": {"pull": true}}]),
        ),
        (
            "actions in a list in a list",
            json!([{"type": "repository", "name": "team/app", "actions": [["pull"]]}]),
        ),
        ("an action that is true", json!([{"type": "repository", "name": "team/app", "actions": [true]}])),
        (
            "a null action beside a good one",
            json!([{"type": "repository", "name": "team/app", "actions": [null, "pull"]}]),
        ),
        ("a list of names", json!([{"type": "repository", "name": ["team/app"], "actions": ["*"]}])),
        ("a list of types", json!([{"type": ["repository"], "name": "team/app", "actions": ["*"]}])),
        ("keys in capitals", json!([{"Type": "repository", "Name": "team/app", "Actions": ["*"]}])),
        (
            "other words for the keys",
            json!([{"kind": "repository", "repository": "team/app", "action": ["*"]}]),
        ),
    ] {
        rows.access(&format!("access: {what}"), 401, access);
    }
    rows.claims("access: none", 401, |claims, _| {
        claims.as_object_mut().map(|claims| claims.remove("access"));
    });
    for (what, twice) in [
        ("a name twice", r#""name":"team/secret","name":"team/app""#),
        ("a type twice", r#""type":"x","name":"team/app""#),
        ("actions twice", r#""actions":[],"name":"team/app""#),
    ] {
        rows.token(&format!("access: {what}"), 401, move |world| {
            let claims = world.claims().to_string().replace(r#""name":"team/app""#, twice);
            world.key.sign(&world.key.header().to_string(), &claims)
        });
    }
    // Entries add up, in any order.
    rows.access(
        "access: two entries of one name",
        200,
        json!([entry("repository", "team/app", &["push"]), entry("repository", "team/app", &["pull"])]),
    );
    rows.access("access: among many others", 200, {
        let mut many: Vec<_> =
            (0..50).map(|number| entry("repository", &format!("team/a{number}"), &["pull"])).collect();
        many.push(entry("repository", "team/app", &["pull"]));
        json!(many)
    });
    rows.access("access: with facts of GitLab", 200, json!([{
        "type": "repository", "name": "team/app", "actions": ["pull"], "meta": {"project_path": "team/app", "project_id": 7}
    }]));
    rows.access(
        "access: facts that name another project",
        401,
        json!([{
            "type": "repository", "name": "team/other", "actions": ["*"], "meta": {"project_path": "team/app"}
        }]),
    );
}
