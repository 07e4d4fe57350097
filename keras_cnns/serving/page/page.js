"use strict";
const SHOWN_CLASSES = 10, SHOWN_IN_HEADING = 3;
const find = (id) => document.getElementById(id);
const main = document.querySelector("main"), drop = find("drop"), file = find("file");
let latest = 0;

const create = (tag, className, ...content) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
};

const format = (probability) => {
  if (probability > 0.9995 && probability < 1) return "> 0.999";
  if (probability < 0.0005 && probability > 0) return "< 0.001";
  return probability.toFixed(3);
};

const join = (names) => {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
};

const picture = (source, text, caption) => {
  const image = create("img");
  image.src = source;
  image.alt = text;
  return create("figure", "", image, create("figcaption", "", caption));
};

const decide = (answer) => {
  const predicted = [answer.predicted].flat();
  const named = predicted.length ? join(predicted) : "None of the labels";
  if (answer.out_of_distribution)
    return ["No answer: unlike the training images", `The image is out of distribution. Do not rely on the prediction, which would be ${named}.`];
  if (answer.abstained) {
    const set = answer.prediction_set;
    const possible = set.length > SHOWN_IN_HEADING ? `${set.length} classes are possible` : set.join(" or ");
    return [`No answer: ${possible}`, `The prediction set does not leave one class. The prediction would be ${named}.`];
  }
  return [named, ""];
};

const describeSet = (answer) => {
  const level = `${100 * Number(main.dataset.confidenceLevel)} %`;
  return `Prediction set: ${answer.prediction_set.join(", ")}. Of images like those of validation, the set contains the true class with a probability of ${level}.`;
};

const showRow = (answer, name) => {
  const probability = answer.probabilities[name], threshold = answer.thresholds[name];
  const fill = create("div", "fill"), bar = create("div", "bar", fill);
  fill.style.width = `${100 * probability}%`;
  bar.setAttribute("aria-hidden", "true");
  const number = create("td", "", format(probability));
  if (threshold !== undefined) {
    const mark = create("div", "threshold");
    mark.style.left = `${100 * threshold}%`;
    bar.append(mark);
    number.append(create("small", "soft", `threshold ${threshold.toFixed(3)}`));
  }
  const head = create("th", "", name);
  head.scope = "row";
  return create("tr", [answer.predicted].flat().includes(name) ? "chosen" : "", head, create("td", "", bar), number);
};

const showProbabilities = (answer) => {
  const names = Object.keys(answer.probabilities);
  if (names.length > 2) names.sort((a, b) => answer.probabilities[b] - answer.probabilities[a]);
  const makeTable = (some, caption) => create("table", "probabilities", create("caption", "", caption),
    create("tbody", "", ...some.map((name) => showRow(answer, name))));
  const parts = [makeTable(names.slice(0, SHOWN_CLASSES), "Probability of each class")];
  const others = names.slice(SHOWN_CLASSES);
  if (others.length)
    parts.push(create("details", "", create("summary", "", `${others.length} more classes`), makeTable(others, "Further classes")));
  return parts;
};

const showReasons = (answer) => {
  const { image, heatmap, similar_training_cases: cases } = answer.explanation;
  const pictures = [picture(image, "the image as the network reads it", "The image as the network reads it")];
  if (heatmap)
    pictures.push(picture(heatmap.overlay, `heatmap for ${heatmap.class}`, `Grad-CAM: regions that contribute to ${heatmap.class} (brighter is more)`));
  const parts = [create("h2", "", "Why"), create("div", "pictures", ...pictures)];
  if (heatmap) parts.push(...heatmap.notes.map((note) => create("p", "notes", note)));
  if (cases) {
    const shown = cases.map((found, index) => {
      const classes = join(found.classes) || "no label";
      return picture(found.image, `similar training image ${index + 1}, ${classes}`, classes);
    });
    parts.push(create("h3", "", "Similar training cases, most similar first"), create("div", "pictures cases", ...shown));
  }
  return parts;
};

const showAnswer = (answer) => {
  const [decision, reason] = decide(answer);
  const heading = create("h2", "decision", decision);
  heading.tabIndex = -1;
  const parts = [create("p", "soft", `Answer for ${answer.file}`), heading];
  if (reason) parts.push(create("p", "warning", reason));
  parts.push(...showProbabilities(answer));
  if (answer.prediction_set && !answer.out_of_distribution) parts.push(create("p", "", describeSet(answer)));
  parts.push(...showReasons(answer));
  return create("section", "", ...parts);
};

const showStatus = (text, isError) => {
  find("status").className = isError ? "error" : "soft";
  find("status").textContent = text;
};

const predict = async (chosen) => {
  const number = ++latest;
  find("answer").replaceChildren();
  document.body.classList.remove("answered");
  if (chosen.size > Number(main.dataset.maxBytes)) {
    showStatus(`${chosen.name} has more than ${Number(main.dataset.maxBytes).toLocaleString("en")} bytes; choose a smaller file.`, true);
    return;
  }
  showStatus(`Reading ${chosen.name} …`, false);
  const query = new URLSearchParams({ explain: "true" });
  if (main.dataset.confidenceLevel) query.set("confidence_level", main.dataset.confidenceLevel);
  let found;
  try {
    const reply = await fetch(`predict?${query}`, { method: "POST", body: chosen, headers: { "Content-Type": "application/octet-stream" } });
    found = await reply.json();
  } catch {
    found = { error: "the server does not answer; start it again." };
  }
  if (number !== latest) return;
  if (found.error) {
    showStatus(`${chosen.name}: ${found.error}`, true);
    return;
  }
  showStatus("", false);
  const frames = found.predictions.length;
  found.predictions.forEach((answer, index) => {
    answer.file = frames > 1 ? `${chosen.name}, frame ${index + 1} of ${frames}` : chosen.name;
  });
  const notes = found.notes.length ? [create("ul", "notes", ...found.notes.map((note) => create("li", "", note)))] : [];
  find("answer").replaceChildren(...found.predictions.map(showAnswer), ...notes);
  document.body.classList.add("answered");
  document.querySelector(".decision").focus({ preventScroll: true });
  scrollTo(0, 0);
};

file.addEventListener("change", () => {
  if (file.files.length) predict(file.files[0]);
  file.value = "";
});
for (const type of ["dragenter", "dragover"])
  addEventListener(type, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const type of ["dragleave", "drop"])
  addEventListener(type, (event) => { event.preventDefault(); drop.classList.remove("over"); });
addEventListener("drop", (event) => {
  if (event.dataTransfer.files.length) predict(event.dataTransfer.files[0]);
});
