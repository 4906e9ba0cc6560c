// What the console's pages do in the browser beyond forms and links: copy, confirm, choose several, tell the local time.

const element = (id) => document.getElementById(id);

function say(text) {
  element("status").textContent = text;
}

async function copy(button) {
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // without HTTPS there is no clipboard API but on loopback: choose the text, and let the browser copy it
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  say(element("status").dataset.copied);
  button.classList.add("copied");
  const use = button.querySelector("use");
  const before = use.getAttribute("href");
  use.setAttribute("href", before.replace(/#.*/, "#check"));
  setTimeout(() => {
    use.setAttribute("href", before.replace(/#.*/, "#copy"));
    button.classList.remove("copied");
  }, 1500);
}

function newKey() {
  const letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"; // 57: the bias of one random word each is nil
  return [...crypto.getRandomValues(new Uint32Array(32))].map((word) => letters[word % letters.length]).join("");
}

function confirmed(form, submitter) {
  const dialog = element("confirm");
  const text = submitter?.dataset.ask ?? form.dataset.confirmText;
  if (form.hasAttribute("data-batch") && !submitter?.dataset.ask) return Promise.resolve(true);
  element("confirm-title").textContent = form.dataset.confirm;
  element("confirm-text").textContent = text;
  element("confirm-yes").textContent = form.dataset.confirmYes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}

function countChosen(form) {
  const boxes = [...form.querySelectorAll("input[name=name]")];
  const chosen = boxes.filter((box) => box.checked).length;
  form.querySelector(".batch").hidden = chosen === 0;
  form.querySelector("[data-count]").textContent = chosen;
  const all = form.querySelector("[data-all]");
  all.checked = chosen === boxes.length;
  all.indeterminate = chosen > 0 && chosen < boxes.length;
}

const language = document.documentElement.lang;
const local = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const localDay = new Intl.DateTimeFormat(language, { dateStyle: "medium" });

function localTimes(root) {
  for (const time of root.querySelectorAll("time:not([title])")) {
    time.title = time.textContent;
    time.textContent = (time.closest("[data-days]") ? localDay : local).format(new Date(time.dateTime));
  }
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-copy], [data-dismiss], [data-toggle], [data-new-key]");
  if (target?.dataset.copy !== undefined) copy(target);
  if (target?.dataset.newKey !== undefined) element(target.dataset.newKey).value = newKey();
  if (target?.dataset.dismiss !== undefined) target.parentElement.remove();
  if (target?.dataset.toggle !== undefined) {
    const open = element(target.dataset.toggle).classList.toggle("open");
    target.setAttribute("aria-expanded", open);
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

document.addEventListener("change", (event) => {
  const form = event.target.closest("form");
  if (form?.dataset.submitOnChange !== undefined) form.requestSubmit();
  if (form?.dataset.batch !== undefined) {
    if (event.target.dataset.all !== undefined) {
      for (const box of form.querySelectorAll("input[name=name]")) box.checked = event.target.checked;
    }
    countChosen(form);
  }
  if (event.target.dataset.file !== undefined) readFile(event.target);
});

async function readFile(input) {
  const [file] = input.files;
  if (file) element(input.dataset.file).value = await file.text();
}

document.addEventListener("submit", async (event) => {
  const { target: form, submitter } = event;
  if (form.dataset.busy !== undefined && submitter) {
    submitter.textContent = submitter.dataset.busyText;
    setTimeout(() => (submitter.disabled = true)); // after the browser has taken the form's values
  }
  if (form.dataset.confirm === undefined || form.dataset.confirmed !== undefined) return;
  event.preventDefault();
  if (!(await confirmed(form, submitter))) return;
  form.dataset.confirmed = "";
  form.requestSubmit(submitter);
});

document.addEventListener("htmx:afterSettle", (event) => localTimes(event.target));
document.addEventListener("htmx:sendError", () => say(element("status").dataset.failed));
// an answer that refuses still says why, in the place where the answer belongs
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status >= 400 && event.detail.xhr.status < 500) event.detail.shouldSwap = true;
});
localTimes(document);
if (location.hash) {
  const shown = document.getElementById(location.hash.slice(1));
  if (shown instanceof HTMLDetailsElement) shown.open = true;
}
