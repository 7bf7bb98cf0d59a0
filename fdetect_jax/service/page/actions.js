// What can be done with a result: download, say that it is wrong, delete.

import { hasKey, post, request } from "./api.js";
import { $, el, moment } from "./dom.js";
import { removeJob } from "./history.js";
import { announce, problemParts, showProblem } from "./messages.js";
import { say } from "./words.js";

export function actions(job, number, gone) {
  const row = job.rows[number];
  const stem = job.files[number].name.replace(/\.[^.]*$/, "") || "file";
  const links = [
    row.annotated
      ? download("download.copy", row.annotated, `${stem}-verdict.${row.kind === "image" ? "png" : "mp4"}`, "primary")
      : null,
    row.heat_map ? download("download.heat", row.heat_map, `${stem}-heat.png`) : null,
    download("download.report", job.links.report, `fdetect-${job.id}.html`),
    download("download.json", job.links.result, `fdetect-${job.id}.json`),
  ];
  const judged = row.verdict === "real" || row.verdict === "suspicious" || row.verdict === "fake";
  const thanks = el("p", { class: "small", id: "thanks" });
  return el(
    "section",
    { class: "card actions", "aria-labelledby": "actions-title" },
    el("h2", { id: "actions-title", class: "unseen", say: "actions.title" }),
    el(
      "div",
      { class: "actions-all" },
      el("div", { class: "row" }, ...links),
      el(
        "div",
        { class: "row" },
        judged
          ? el("button", {
              type: "button",
              id: "wrong",
              say: "wrong.open",
              on: { click: () => askWrong(job, number, thanks) },
            })
          : null,
        el("button", {
          type: "button",
          class: "danger",
          id: "delete",
          say: "delete.now",
          on: { click: () => askDelete(job.id, gone) },
        }),
      ),
    ),
    thanks,
    job.expires ? el("p", { class: "small", say: ["actions.expires", { time: () => moment(job.expires) }] }) : null,
  );
}

// A link that saves a file. With a key the file is fetched first, since a link cannot send the key.
function download(key, url, name, look = "") {
  const link = el("a", { class: `button ${look}`, href: url, download: name, say: key });
  link.addEventListener("click", async (event) => {
    if (!hasKey()) return;
    event.preventDefault();
    try {
      const made = URL.createObjectURL(await (await request(url)).blob());
      el("a", { href: made, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(made), 60_000);
    } catch (error) {
      showProblem(error);
    }
  });
  return link;
}

export function askDelete(id, gone) {
  const dialog = $("delete-dialog");
  dialog.returnValue = "no";
  // One handler: a dialog that is opened again at once meets the event of its last closing.
  dialog.onclose = async () => {
    if (dialog.open || dialog.returnValue !== "yes") return;
    try {
      await removeJob(id);
      gone();
      announce("delete.done", {}, true);
    } catch (error) {
      showProblem(error);
    }
  };
  dialog.showModal();
}

function askWrong(job, number, thanks) {
  const dialog = $("wrong-dialog"),
    form = $("wrong-form");
  form.reset();
  $("wrong-problem").replaceChildren();
  $("wrong-cancel").onclick = () => dialog.close();
  form.onsubmit = async (event) => {
    event.preventDefault();
    const really = new FormData(form).get("really");
    $("wrong-send").disabled = true;
    try {
      await post(`/v1/jobs/${job.id}/feedback`, { n: number, verdict: really, comment: $("wrong-comment").value });
      dialog.close();
      say(thanks, "wrong.thanks");
      announce("wrong.thanks");
    } catch (error) {
      $("wrong-problem").replaceChildren(...problemParts(error));
    } finally {
      $("wrong-send").disabled = false;
    }
  };
  dialog.showModal();
}
