"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const one = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const slider = one("#threshold");
  const items = all("#gallery > li");
  const doubts = new Set(items.filter((item) => item.querySelector(".doubt")));
  const cells = {
    tp: `${data.positive} called ${data.positive}`,
    fn: `${data.positive} called ${data.negative}`,
    fp: `${data.negative} called ${data.positive}`,
    tn: `${data.negative} called ${data.negative}`,
  };
  const state = { part: 0, threshold: data.threshold, filter: "mistakes" };

  const cellOf = (label, probability) => {
    const called = probability >= state.threshold;
    return label ? (called ? "tp" : "fn") : called ? "fp" : "tn";
  };

  const count = ({ labels, probabilities }) => {
    const counts = { tp: 0, fn: 0, fp: 0, tn: 0 };
    labels.forEach((label, i) => counts[cellOf(label, probabilities[i])]++);
    return counts;
  };

  // A share and its 95 % interval by E. B. Wilson (1927); null where there is nothing to divide by.
  const rate = (part, whole) => {
    if (!whole) return null;
    const share = part / whole;
    const z2 = 1.959963984540054 ** 2 / whole;
    const centre = (share + z2 / 2) / (1 + z2);
    const half = Math.sqrt(z2 * share * (1 - share) + (z2 * z2) / 4) / (1 + z2);
    return { share, low: part ? centre - half : 0, high: part < whole ? centre + half : 1 };
  };

  const percent = (found) => {
    if (!found) return "not defined";
    const width = found.high - found.low;
    const write = (x) => (100 * x).toFixed(width > 0.05 ? 0 : width > 0.005 ? 1 : 2);
    return `${write(found.share)}\u00a0% (${write(found.low)}–${write(found.high)}\u00a0%)`;
  };

  const moveMarks = (places) => {
    for (const mark of all("[data-x]")) {
      if (!(mark.dataset.x in places)) continue;
      const [x, y] = [places[mark.dataset.x], mark.dataset.y ? places[mark.dataset.y] : 0];
      mark.hidden = x === null || y === null;
      mark.style.left = `${100 * x}%`;
      mark.style.bottom = `${100 * y}%`;
    }
  };

  const drawFigures = () => {
    const { tp, fn, fp, tn } = count(data.parts[state.part]);
    const rates = {
      accuracy: rate(tp + tn, tp + fn + fp + tn),
      precision: rate(tp, tp + fp),
      recall: rate(tp, tp + fn),
      specificity: rate(tn, tn + fp),
    };
    for (const [key, number] of Object.entries({ tp, fn, fp, tn })) {
      const among = key === "tp" || key === "fn" ? tp + fn : fp + tn;
      one(`[data-count="${key}"]`).textContent = number.toLocaleString("en");
      one(`[data-cell="${key}"]`).style.setProperty("--share", among ? number / among : 0);
    }
    for (const [name, found] of Object.entries(rates)) {
      const place = one(`[data-rate="${name}"]`);
      place.textContent = percent(found);
      place.value = found ? String(found.share) : "";
    }
    const places = {
      threshold: state.threshold,
      alarms: rates.specificity && 1 - rates.specificity.share,
      recall: rates.recall && rates.recall.share,
      precision: rates.precision && rates.precision.share,
    };
    moveMarks(places);
    one("#threshold-value").textContent = state.threshold.toFixed(3);
    for (const place of all("[data-now]")) place.textContent = String(state.threshold);
    one("#live").textContent =
      `At threshold ${state.threshold.toFixed(3)}, ${tp + tn} of ${tp + fn + fp + tn} are called right: ` +
      `${tp} of ${tp + fn} ${data.positive} found, ${fp} false ${fp === 1 ? "alarm" : "alarms"}.`;
  };

  // How many images are decided alone where so many of them may be wrong.
  const allowed = one("#allowed");
  const drawAlone = () => {
    const [text, error, sentence, place, decided] = data.allowed[allowed.value];
    allowed.setAttribute("aria-valuetext", text);
    one("#allowed-value").textContent = text;
    one("#alone-live").textContent = sentence;
    one("#keep").style.visibility = decided === null ? "hidden" : ""; // without a jump of what is below
    for (const number of all("[data-error]")) number.textContent = error;
    moveMarks({ allowed: place, decided });
  };

  // The prediction of each image of the chosen split; the image hardest to believe comes first.
  let judged = new Map();
  const judge = () => {
    const { labels, probabilities, images } = data.parts[state.part];
    judged = new Map();
    images.forEach((place, i) => {
      const [label, probability] = [labels[i], probabilities[i]];
      if (place >= 0) judged.set(items[place], { label, probability, belief: label ? probability : 1 - probability });
    });
  };

  const drawGallery = () => {
    const cell = (item) => judged.has(item) && cellOf(judged.get(item).label, judged.get(item).probability);
    const isMistake = (item) => ["fp", "fn"].includes(cell(item));
    const wanted = {
      mistakes: isMistake,
      doubts: (item) => doubts.has(item),
      unlike: (item) => "familiarity" in item.dataset,
      decided: (item) => decisions.has(rowOf(item)[0]),
      all: (item) => judged.has(item),
    };
    const chosen = wanted[state.filter] ?? ((item) => cell(item) === state.filter);
    for (const item of items) {
      const found = judged.get(item);
      const verdict = item.querySelector(".verdict");
      item.hidden = !chosen(item);
      item.classList.toggle("mistake", isMistake(item));
      verdict.hidden = !found;
      if (!found) continue;
      const called = found.probability >= state.threshold ? data.positive : data.negative;
      verdict.textContent = `called ${called}, probability of ${data.positive} ${found.probability.toFixed(2)}`;
    }
    for (const button of all("[data-filter], [data-cell]")) {
      const key = button.dataset.filter ?? button.dataset.cell;
      button.setAttribute("aria-pressed", String(key === state.filter));
    }
    for (const place of all("[data-size]")) {
      place.textContent = items.filter(wanted[place.dataset.size]).length;
    }
    const names = { mistakes: "Mistakes", doubts: "Doubtful labels", unlike: "Least familiar", decided: "Decided", all: "All images" };
    const shown = items.filter((item) => !item.hidden).length;
    one("#shown").textContent = `${names[state.filter] ?? cells[state.filter]}: ${shown} shown.`;
    if (!current || current.hidden) stayAt(visible()[0]);
  };

  // Mistakes are in the order of the split; doubtful labels in that of the page, and the least familiar first,
  // whichever split they are from.
  const sortGallery = () => {
    const belief = (item) => judged.get(item)?.belief ?? 2;
    const unlike = (item) => Number(item.dataset.familiarity ?? 2);
    const rank = { doubts: () => 0, decided: () => 0, unlike }[state.filter] ?? belief;
    one("#gallery").append(...[...items].sort((a, b) => rank(a) - rank(b)));
  };

  // Decisions about labels, by image: kept as long as the page is open, and saved as a table.
  const decisions = new Map(data.decisions.map((row) => [row[0], row]));
  const shortcuts = { r: "right", w: "wrong", l: "leave out", u: "unsure" };
  const rows = new Map(items.map((item, place) => [item, data.images[place]])); // name, label, digest
  const rowOf = (item) => rows.get(item);
  const visible = () => [...one("#gallery").children].filter((item) => !item.hidden);
  let [current, saved] = [null, true];

  // One image is the way into the gallery by keyboard; arrow keys lead on from there.
  const stayAt = (item) => {
    for (const place of all("[data-decision][tabindex='0']")) place.tabIndex = -1;
    current = item ?? null;
    if (item) item.querySelector("[data-decision]").tabIndex = 0;
  };

  const goTo = (item, decision) => {
    if (!item) return;
    stayAt(item);
    item.querySelector(decision ? `[data-decision="${decision}"]` : "[data-decision]").focus();
  };

  const drawDecisions = () => {
    for (const item of items) {
      const decision = decisions.get(rowOf(item)[0])?.[2];
      item.classList.toggle("decided", Boolean(decision));
      for (const button of item.querySelectorAll("[data-decision]")) {
        button.setAttribute("aria-pressed", String(button.dataset.decision === decision));
      }
    }
    const taken = [...decisions.values()].map((row) => row[2]);
    const counts = Object.values(shortcuts).map((word) => [taken.filter((one) => one === word).length, word]);
    const said = counts.filter(([number]) => number).map(([number, word]) => `${number} ${word}`).join(", ");
    one("#decided").textContent =
      (taken.length ? `${taken.length} decided: ${said}.` : "Nothing decided yet.") + (saved ? "" : " Not saved yet.");
    one('[data-size="decided"]').textContent = items.filter((item) => decisions.has(rowOf(item)[0])).length;
  };

  // Deciding the same once more takes it back.
  const decide = (item, decision) => {
    const [name, label, digest] = rowOf(item);
    if (decisions.get(name)?.[2] === decision) decisions.delete(name);
    else decisions.set(name, [name, label, decision, digest]);
    saved = false;
    drawDecisions();
  };

  // Text that a spreadsheet would run as a formula gets an apostrophe before it.
  const cell = (text) => {
    const harmless = /^\s*[=+\-@＝＋－＠]/u.test(text) ? `'${text}` : text;
    return /[",;\t\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
  };

  const save = () => {
    const sorted = [...decisions.values()].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    const text = [data.columns, ...sorted].map((row) => `${row.map(cell).join(",")}\n`).join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    saved = true;
    drawDecisions();
  };

  const drawParts = () => {
    for (const place of all("[data-part]")) place.hidden = Number(place.dataset.part) !== state.part;
  };

  const draw = () => {
    judge();
    drawParts();
    drawFigures();
    sortGallery();
    drawGallery();
  };

  const show = (filter) => {
    state.filter = filter;
    sortGallery();
    drawGallery();
  };

  slider.addEventListener("input", () => {
    state.threshold = Number(slider.value);
    drawFigures();
    drawGallery();
  });
  one("#reset").addEventListener("click", () => {
    state.threshold = data.threshold;
    slider.value = String(data.threshold);
    draw();
  });
  allowed?.addEventListener("input", drawAlone);
  one("#allowed-reset")?.addEventListener("click", () => {
    allowed.value = String(data.start);
    drawAlone();
  });
  for (const radio of all("[name=part]")) {
    radio.addEventListener("change", () => {
      state.part = Number(radio.value);
      draw();
    });
  }
  for (const button of all("[data-filter]")) {
    button.addEventListener("click", () => show(button.dataset.filter));
  }
  for (const button of all("[data-cell]")) {
    button.addEventListener("click", () => {
      show(button.dataset.cell);
      one("#images-title").focus({ preventScroll: true });
      one("#images").scrollIntoView();
    });
  }

  one("#gallery").addEventListener("click", ({ target }) => {
    const item = target.closest("#gallery > li");
    if (!target.dataset.decision) return;
    stayAt(item);
    decide(item, target.dataset.decision);
  });
  one("#gallery").addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (!target.dataset.decision || event.ctrlKey || event.metaKey || event.altKey) return;
    const [item, there] = [target.closest("#gallery > li"), visible()];
    const decision = shortcuts[key.toLowerCase()];
    const next = there[there.indexOf(item) + (key === "ArrowUp" ? -1 : 1)];
    if (decision) {
      decide(item, decision);
      goTo(next ?? item, next ? null : decision);
    } else if (key === "ArrowDown" || key === "ArrowUp") goTo(next);
    else if (key === "ArrowRight") target.nextElementSibling?.focus();
    else if (key === "ArrowLeft") target.previousElementSibling?.focus();
    else return;
    event.preventDefault();
  });
  one("#save").addEventListener("click", save);
  addEventListener("beforeunload", (event) => {
    if (!saved) event.preventDefault();
  });

  const theme = one("#theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";
  const showTheme = () => theme.setAttribute("aria-pressed", String(isDark()));
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  prefersDark.addEventListener("change", showTheme);
  showTheme();

  for (const place of all("[data-script], #theme")) place.hidden = false;
  for (const place of all("[data-static]")) place.hidden = true;
  if (!data.parts[0].labels.some((label, i) => ["fp", "fn"].includes(cellOf(label, data.parts[0].probabilities[i])))) {
    state.filter = doubts.size ? "doubts" : "all";
  }
  draw();
  drawDecisions();
  if (allowed) drawAlone();
}
