"""Dagster's GraphQL as the UI uses it, over plain HTTP.

Belongs here: questions and orders to the webserver. Does not belong here: what a test expects of the answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

from endtoend.services import HOST, until

RUN_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
ENDED = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "fly64_assets.definitions"}

LAUNCH = """mutation LaunchPartitionBackfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message stack } } }"""
REEXECUTE = """mutation ReexecuteBackfill($params: ReexecutionParams!) {
  reexecutePartitionBackfill(reexecutionParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message stack } } }"""
RUN = """mutation LaunchRun($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message stack }
    ... on RunConfigValidationInvalid { errors { message } } } }"""
STATUS = "query RunStatus($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
SENSORS = """query Sensors($selector: RepositorySelector!) {
  sensorsOrError(repositorySelector: $selector) { ... on Sensors { results {
    id name sensorState { id selectorId status ticks(limit: 100) {
      status skipReason runIds error { message } logEvents { events { message } } } } } } } }"""
STOP_SENSOR = "mutation StopSensor($id: String!) { stopSensor(id: $id) { __typename } }"
CANCEL = """mutation CancelBackfill($id: String!) {
  cancelPartitionBackfill(backfillId: $id) { __typename ... on PythonError { message } } }"""
BACKFILL = """query BackfillStatus($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill {
      id status numPartitions error { message }
      runs(limit: 200) { id status tags { key value } }
      assetBackfillData { assetBackfillStatuses {
        ... on AssetPartitionsStatusCounts {
          assetKey { path } numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed }
        ... on UnpartitionedAssetStatus { assetKey { path } inProgress materialized failed } } } }
    ... on PythonError { message } } }"""
EVENTS = """query RunEvents($id: ID!) {
  runOrError(runId: $id) { ... on Run {
    id status
    eventConnection(limit: 1000) { events {
      __typename
      ... on MessageEvent { message stepKey timestamp eventType }
      ... on ExecutionStepFailureEvent {
        error { message causes { message } }
        failureMetadata { description } }
      ... on AssetCheckEvaluationEvent {
        evaluation { success checkName description assetKey { path } partition } } } } } } }"""
ASSETS = """query AssetGraph {
  assetNodes {
    id assetKey { path } groupName kinds isPartitioned
    dependencyKeys { path } dependedByKeys { path } partitionStats { numMaterialized numFailed numMaterializing } } }"""
PARTITIONS = """query PartitionStatuses($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    id
    assetPartitionStatuses {
      ... on DefaultPartitionStatuses { materializedPartitions failedPartitions materializingPartitions }
      ... on MultiPartitionStatuses { ranges { primaryDimStartKey primaryDimEndKey secondaryDim {
        ... on DefaultPartitionStatuses { materializedPartitions failedPartitions } } } } } } } }"""
KEYS = """query PartitionKeys($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { id partitionKeysByDimension { name partitionKeys } } } }"""
RUNS = """query Runs($filter: RunsFilter, $limit: Int = 25) {
  runsOrError(filter: $filter, limit: $limit) { ... on Runs { results {
    id status jobName creationTime startTime endTime tags { key value } assetSelection { path } } } } }"""
CHECKS = """query AssetChecks($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { id assetChecksOrError { ... on AssetChecks { checks {
    name description executionForLatestMaterialization {
      status evaluation { success description } } } } } } } }"""


class Client:
    """Asks the webserver; every question has a connection of its own, since the server ends those that idle."""

    def __init__(self, port: int, timeout: float = 300) -> None:
        self._port, self._timeout = port, timeout

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer without errors."""
        body = json.dumps({"query": query, "variables": variables})
        with closing(HTTPConnection(HOST, self._port, timeout=self._timeout)) as connection:
            connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
        assert response.status == 200, f"HTTP {response.status}: {content[:500]!r}"
        answer = json.loads(content)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def backfill(
        self, assets: Sequence[str], partitions: Sequence[str] | None, config: Mapping[str, Any] | None = None
    ) -> str:
        """Launch a backfill of these assets over these partitions, or over all; its name."""
        params: dict[str, Any] = {"assetSelection": [{"path": [name]} for name in assets], "tags": []}
        params |= {"allPartitions": True} if partitions is None else {"partitionNames": list(partitions)}
        if config is not None:
            params["runConfigData"] = json.dumps(config)
        return self._launched(self.ask(LAUNCH, params=params)["launchPartitionBackfill"])

    def failed_and_missing(self, backfill: str) -> str:
        """What the UI's button "Re-execute from failure" does with a backfill; the name of the new one."""
        params = {"parentRunId": backfill, "strategy": "FROM_FAILURE"}
        return self._launched(self.ask(REEXECUTE, params=params)["reexecutePartitionBackfill"])

    def run(self, job: str, seconds: float = 300) -> str:
        """Run a job without partitions to its end; its status."""
        selector = REPOSITORY | {"jobName": job}
        answer = self.ask(RUN, params={"selector": selector, "runConfigData": "{}", "mode": "default"})["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer

        def status() -> str | None:
            now: str = self.ask(STATUS, id=answer["run"]["runId"])["runOrError"]["status"]
            return now if now in RUN_ENDED else None

        return str(until(status, seconds, f"end of the job {job}"))

    def launch_cell(self, asset: str, dose: str, view: str) -> str:
        """Launch one run that materialises an asset of a cell; its id. Without a daemon the run stays in the queue."""
        tags = {"dagster/partition": f"{dose}|{view}", "dagster/partition/dose": dose, "dagster/partition/view": view}
        params = {
            "selector": REPOSITORY | {"jobName": "__ASSET_JOB", "assetSelection": [{"path": [asset]}]},
            "runConfigData": "{}",
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self.ask(RUN, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def status(self, run: str) -> str:
        """Status of a run."""
        return str(self.ask(STATUS, id=run)["runOrError"]["status"])

    def runs(self, *statuses: str) -> list[dict[str, Any]]:
        """Runs of these statuses, the newest first."""
        found: list[dict[str, Any]] = self.ask(RUNS, filter={"statuses": statuses}, limit=200)["runsOrError"]["results"]
        return found

    def materialized(self, asset: str) -> list[str]:
        """Partition keys of an asset that are materialised."""
        status = self.ask(PARTITIONS, key={"path": [asset]})["assetNodeOrError"]["assetPartitionStatuses"]
        if "ranges" not in status:
            return list(status["materializedPartitions"])
        doses = [str(one) for one in self.partition_keys(asset, "dose")]
        return [
            f"{dose}|{view}"
            for row in status["ranges"]
            for dose in doses[doses.index(row["primaryDimStartKey"]) : doses.index(row["primaryDimEndKey"]) + 1]
            for view in row["secondaryDim"]["materializedPartitions"]
        ]

    def partition_keys(self, asset: str, dimension: str) -> list[str]:
        """Keys of one dimension of an asset's partitions, in their order."""
        found = self.ask(KEYS, key={"path": [asset]})["assetNodeOrError"]["partitionKeysByDimension"]
        return list(next(one["partitionKeys"] for one in found if one["name"] == dimension))

    def sensors(self) -> dict[str, dict[str, Any]]:
        """State and last ticks of every sensor, by name."""
        found = self.ask(SENSORS, selector=REPOSITORY)["sensorsOrError"]["results"]
        return {one["name"]: one["sensorState"] for one in found}

    def stop_sensor(self, name: str) -> None:
        """Switch a sensor off."""
        answer = self.ask(STOP_SENSOR, id=self.sensors()[name]["id"])["stopSensor"]
        assert answer["__typename"] == "StopSensorMutationResult", answer

    def cancel(self, backfill: str) -> None:
        """Cancel a backfill and its runs."""
        answer = self.ask(CANCEL, id=backfill)["cancelPartitionBackfill"]
        assert answer["__typename"] == "CancelBackfillSuccess", answer

    def backfill_state(self, backfill: str) -> dict[str, Any]:
        """Status, runs and counts by asset of a backfill."""
        answer: dict[str, Any] = self.ask(BACKFILL, id=backfill)["partitionBackfillOrError"]
        assert answer["__typename"] == "PartitionBackfill", answer
        return answer

    def ended(self, backfill: str, seconds: float = 600) -> dict[str, Any]:
        """The state of a backfill after its end."""

        def state() -> dict[str, Any] | None:
            answer = self.backfill_state(backfill)
            return answer if answer["status"] in ENDED else None

        return until(state, seconds, f"end of backfill {backfill}")

    def events(self, run: str) -> list[dict[str, Any]]:
        """Events of a run, as its page shows them."""
        events: list[dict[str, Any]] = self.ask(EVENTS, id=run)["runOrError"]["eventConnection"]["events"]
        return events

    def _launched(self, answer: Mapping[str, Any]) -> str:
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        name: str = answer["backfillId"]
        return name


def tag(run: Mapping[str, Any], key: str) -> str:
    """Value of a run's tag; empty where it has none."""
    return next((one["value"] for one in run["tags"] if one["key"] == key), "")


def by_partition(runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Status of runs by their partition."""
    return {tag(run, "dagster/partition"): run["status"] for run in runs}
