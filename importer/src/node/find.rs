//! Finds a cluster's nodes by k3d's labels. Load balancers, registries and tool containers are no nodes;
//! a node that does not run is an error that names it, because skipping it would leave the cluster half-done.

use std::collections::BTreeSet;

use crate::{
    ImportError, Limits,
    docker::{Container, Docker},
    node::Node,
};

const APP_LABEL: &str = "app=k3d";
/// `k3d.role` of containers that run a kubelet.
const NODE_ROLES: [&str; 2] = ["server", "agent"];

/// The server and agent nodes of `cluster`, by name.
pub(crate) async fn find_nodes(
    docker: &Docker,
    cluster: &str,
    limits: Limits,
) -> Result<Vec<Node>, ImportError> {
    let containers = docker.containers(&[APP_LABEL]).await?;
    let chosen = choose(&containers, cluster)?;
    Ok(chosen
        .into_iter()
        .map(|(container, role)| Node {
            docker: docker.clone(),
            id: container.id.clone(),
            name: container.name().to_owned(),
            role: role.to_owned(),
            limits,
        })
        .collect())
}

fn choose<'a>(
    containers: &'a [Container],
    cluster: &str,
) -> Result<Vec<(&'a Container, &'a str)>, ImportError> {
    let of_cluster: Vec<&Container> =
        containers.iter().filter(|container| container.labels.cluster.as_deref() == Some(cluster)).collect();
    if of_cluster.is_empty() {
        let found: BTreeSet<&str> =
            containers.iter().filter_map(|container| container.labels.cluster.as_deref()).collect();
        return Err(ImportError::UnknownCluster {
            cluster: cluster.to_owned(),
            found: found.into_iter().map(str::to_owned).collect(),
        });
    }
    let mut nodes: Vec<(&Container, &str)> = of_cluster
        .into_iter()
        .filter_map(|container| container.labels.role.as_deref().map(|role| (container, role)))
        .filter(|(_, role)| NODE_ROLES.contains(role))
        .collect();
    if nodes.is_empty() {
        return Err(ImportError::NoNodes { cluster: cluster.to_owned() });
    }
    nodes.sort_by_key(|(container, _)| container.name());
    let stopped: Vec<String> = nodes
        .iter()
        .filter(|(container, _)| container.state != "running")
        .map(|(container, _)| format!("{} ({})", container.name(), container.state))
        .collect();
    if stopped.is_empty() {
        Ok(nodes)
    } else {
        Err(ImportError::StoppedNodes { cluster: cluster.to_owned(), nodes: stopped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn containers(list: &[(&str, &str, &str, &str)]) -> Vec<Container> {
        let list: Vec<serde_json::Value> = list
            .iter()
            .map(|(name, cluster, role, state)| {
                serde_json::json!({
                    "Id": format!("{name}-id"), "Names": [format!("/{name}")], "State": state,
                    "Labels": {"app": "k3d", "k3d.cluster": cluster, "k3d.role": role, "k3d.cluster.token": "secret"},
                })
            })
            .collect();
        serde_json::from_value(list.into()).unwrap()
    }

    #[test]
    fn servers_and_agents_are_chosen_by_name_and_others_are_not() {
        let all = containers(&[
            ("k3d-a-server-0", "a", "server", "running"),
            ("k3d-a-agent-0", "a", "agent", "running"),
            ("k3d-a-serverlb", "a", "loadbalancer", "exited"),
            ("k3d-a-tools", "a", "noRole", "running"),
            ("k3d-b-server-0", "b", "server", "exited"),
        ]);
        let names: Vec<&str> =
            choose(&all, "a").unwrap().iter().map(|(container, _)| container.name()).collect();
        assert_eq!(names, ["k3d-a-agent-0", "k3d-a-server-0"]);
    }

    #[test]
    fn a_stopped_node_is_named() {
        for state in ["exited", "paused", "created", "restarting"] {
            let all = containers(&[("n1", "a", "server", "running"), ("n2", "a", "agent", state)]);
            match choose(&all, "a").unwrap_err() {
                ImportError::StoppedNodes { nodes, .. } => assert_eq!(nodes, [format!("n2 ({state})")]),
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn an_unknown_cluster_names_those_that_exist() {
        let all = containers(&[("n1", "b", "server", "running"), ("n2", "a", "server", "running")]);
        let error = choose(&all, "c").unwrap_err().to_string();
        assert!(error.contains("\"c\"") && error.contains("a, b"), "{error}");
        assert!(choose(&[], "c").unwrap_err().to_string().contains("it has none"));
        let only_proxy = containers(&[("lb", "a", "loadbalancer", "running")]);
        assert!(matches!(choose(&only_proxy, "a"), Err(ImportError::NoNodes { .. })));
    }

    #[test]
    fn no_label_but_the_known_ones_is_kept() {
        let all = containers(&[("n1", "a", "server", "running")]);
        assert!(!format!("{all:?}").contains("secret"));
    }
}
