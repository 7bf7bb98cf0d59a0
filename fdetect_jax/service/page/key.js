// The dialog for the API key. The key stays in this tab.

import { hasKey, onKeyWanted, setKey } from "./api.js";
import { $ } from "./dom.js";
import { problemParts } from "./messages.js";

let asked = null; // the one open question, shared by all requests that wait for it

// changed: called after a key was entered or forgotten by the button in the header.
export function startKey(changed) {
  const dialog = $("key-dialog");
  let entered = false;
  $("key-form").addEventListener("submit", () => {
    entered = Boolean($("key").value.trim());
    if (entered) setKey($("key").value.trim());
  });
  $("key-cancel").addEventListener("click", () => dialog.close());
  $("key-forget").addEventListener("click", () => {
    setKey(null);
    dialog.close();
    changed();
  });
  const ask = (problem) => {
    asked ??= new Promise((resolve) => {
      entered = false;
      $("key").value = "";
      $("key-forget").hidden = !hasKey();
      const parts = problem ? problemParts(problem).slice(0, 1) : []; // the detail is for programs
      $("key-problem").replaceChildren(...parts);
      dialog.onclose = () => {
        if (dialog.open) return; // the event of its last closing
        asked = null;
        resolve(entered);
      };
      dialog.showModal();
    });
    return asked;
  };
  onKeyWanted(ask);
  $("key-open").addEventListener("click", async () => {
    if (await ask(null)) changed();
  });
}
