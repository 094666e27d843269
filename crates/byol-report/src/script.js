"use strict";
// What appears under the pointer. All that is drawn is drawn without it.
const tip = document.getElementById("tip");
const read = (id) => { const block = document.getElementById(id); return block && JSON.parse(block.textContent); };
const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

function show(event, ...content) {
  tip.replaceChildren(...content);
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = event.clientX + 16 + width > innerWidth ? event.clientX - 12 - width : event.clientX + 16;
  const top = event.clientY + 14 + height > innerHeight ? event.clientY - 10 - height : event.clientY + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}
const hide = () => { tip.hidden = true; };
const number = (value) => {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return value.toExponential(2);
  return Number(value.toPrecision(4)).toString();
};

// The values of all runs at the place of the pointer.
const curves = read("curve-values");
for (const chart of document.querySelectorAll(".chart")) {
  const [left, top, right, bottom, low, high] = chart.dataset.plot.split(" ").map(Number);
  const { key, along } = chart.dataset;
  const pointer = chart.querySelector(".pointer");
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const wanted = low + (x - left) / (right - left) * (high - low);
    let best = null;
    const rows = [];
    curves.values[key].forEach((line, run) => {
      const xs = line[along];
      if (!xs.length) return;
      let near = 0;
      for (let at = 1; at < xs.length; at++) if (Math.abs(xs[at] - wanted) < Math.abs(xs[near] - wanted)) near = at;
      const farther = (a, b) => Math.abs(a - wanted) > Math.abs(b - wanted);
      // A run that ended long before has no value here.
      if (wanted > xs[xs.length - 1] + 0.03 * (high - low)) return;
      if (best === null || farther(best.x, xs[near])) best = { x: xs[near], step: line.step[near], epoch: line.epoch[near] };
      const row = element("div", "row");
      row.append(element("i", `swatch run${run % 8}`));
      row.append(element("span", "", curves.runs.length > 1 ? curves.runs[run] : ""));
      row.append(element("b", "", number(line.y[near])));
      rows.push(row);
    });
    if (best === null) return leave();
    const at = left + (best.x - low) / (high - low) * (right - left);
    pointer.innerHTML = `<path d="M${at} ${top}V${bottom}"/>`;
    show(event, element("div", "", `epoch ${number(best.epoch)}, step ${best.step}`), ...rows);
  });
  const leave = () => { pointer.replaceChildren(); hide(); };
  chart.addEventListener("pointerleave", leave);
}

// The picture of a point, and the points of a class.
for (const points of document.querySelectorAll(".points")) {
  const data = read(`map-values${points.dataset.map}`);
  const all = [...points.querySelectorAll(".point")];
  points.addEventListener("pointermove", (event) => {
    const index = event.target.dataset.i;
    if (index === undefined) return hide();
    const side = 96;
    const picture = element("div", `picture sprite${points.dataset.map}`);
    picture.style.backgroundSize = `${data.columns * side}px ${data.lines * side}px`;
    picture.style.backgroundPosition = `-${index % data.columns * side}px -${Math.floor(index / data.columns) * side}px`;
    const label = data.labels[index];
    show(event, picture, element("b", "", label === null ? "no label" : data.classes[label]), element("div", "", data.names[index]));
  });
  points.addEventListener("pointerleave", hide);
  const only = (label) => all.forEach((point, index) => point.classList.toggle("faded", label !== null && data.labels[index] !== label));
  for (const item of points.closest(".map").querySelectorAll(".classes li")) {
    const label = Number(item.dataset.class);
    for (const enter of ["pointerenter", "focus"]) item.addEventListener(enter, () => only(label));
    for (const exit of ["pointerleave", "blur"]) item.addEventListener(exit, () => only(null));
  }
}
document.documentElement.dataset.ready = "1";
