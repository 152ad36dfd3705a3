// Sends one image at a time and puts the answer, which the server has written, into the page.
"use strict";

const AT_ONCE = 2; // requests: so one is computed while the next arrives
const form = document.querySelector("#ask");
const list = document.querySelector("#results");
const live = document.querySelector("#live");
const waiting = [];
let running = 0;

document.documentElement.classList.add("js");

for (const input of form.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    ask(input.files);
    input.value = "";
  });
}

document.addEventListener("paste", (event) => ask(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  if (event.dataTransfer.types.includes("Files")) {
    event.preventDefault();
    document.body.classList.add("dragging");
  }
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dragging");
  if (event.dataTransfer.files.length) {
    event.preventDefault();
    ask(event.dataTransfer.files);
  }
});

function ask(files) {
  for (const file of [...files].reverse()) {
    const place = result("waiting", file.name, "is being looked at …");
    list.prepend(place);
    waiting.unshift({ file, place });
  }
  work();
}

async function work() {
  while (waiting.length && running < AT_ONCE) {
    running += 1;
    const { file, place } = waiting.shift();
    answer(file)
      .catch(() => result("bad", file.name, "the server did not answer: is it still running?"))
      .then((found) => {
        place.replaceWith(found);
        const said = [...found.querySelectorAll("h3, .words p")].map((one) => one.textContent.trim());
        live.textContent = said.join(", ");
        running -= 1;
        work();
      });
  }
}

async function answer(file) {
  if (file.size > Number(form.dataset.fileBytes)) {
    return result("bad", file.name, "is larger than the server takes");
  }
  const body = new FormData();
  body.append("images", file);
  const response = await fetch("./", { method: "POST", body, headers: { accept: "text/html", "x-requested-with": "page.js" } });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const found = page.querySelector("#results > li");
  if (found) return document.adoptNode(found);
  const problem = page.querySelector(".problem");
  return result("bad", file.name, problem ? problem.textContent : "the server could not answer");
}

// An entry that the server has not written.
function result(kind, name, text) {
  const entry = document.createElement("li");
  entry.className = `result ${kind}`;
  const words = document.createElement("div");
  words.className = "words";
  for (const [tag, className, content] of [["p", "", text], ["p", "name", name]]) {
    const line = document.createElement(tag);
    line.className = className;
    line.textContent = content;
    words.append(line);
  }
  entry.append(words);
  return entry;
}
