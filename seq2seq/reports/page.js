"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const drawn = new Set();
  const hidden = new Map(); // a section's series that are not shown
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const wide = matchMedia("(min-width: 56rem)");
  const touch = matchMedia("(pointer: coarse)");
  let axis = "steps";

  // A copy in which the names of colours, "@ink", are those of the style sheet.
  function coloured(node, style, inColour) {
    if (typeof node === "string") {
      return inColour && node[0] === "@" ? style.getPropertyValue("--" + node.slice(1)).trim() : node;
    }
    if (Array.isArray(node)) return node.map((item) => coloured(item, style, inColour));
    if (node === null || typeof node !== "object") return node;
    return Object.fromEntries(
      Object.entries(node).map(([key, value]) => [key, coloured(value, style, inColour || key.includes("color"))])
    );
  }

  function draw(place) {
    const chart = charts[place.id];
    const style = getComputedStyle(document.documentElement);
    const data = coloured(chart.data, style, false);
    const layout = coloured(chart.layout, style, false);
    layout.font.family = style.getPropertyValue("--sans");
    layout.dragmode = touch.matches ? false : "zoom";
    if (chart.rows && wide.matches) { // names beside the marks, not above them
      layout.annotations.forEach((name) => Object.assign(name, { yshift: 0, xshift: -14, xanchor: "right" }));
      layout.margin.l = 340;
      layout.yaxis.range[1] = 0.5;
      place.style.height = 60 + 28 * layout.annotations.length + "px";
    } else if (chart.rows) {
      place.style.height = 60 + 40 * layout.annotations.length + "px";
    }
    if (chart.axes) {
      data.forEach((trace, i) => { trace.x = chart.axes[axis].x[i]; });
      layout.xaxis.title.text = chart.axes[axis].title;
      layout.xaxis.rangemode = "tozero";
    }
    const off = hidden.get(place.closest("section"));
    if (chart.series && off) data.forEach((trace, i) => { trace.visible = !off.has(chart.series[i]); });
    drawn.add(place);
    Plotly.react(place, data, layout, { displayModeBar: false, responsive: true, doubleClick: "autosize" });
  }

  const places = Array.from(document.querySelectorAll(".plot"));
  const redraw = (wanted) => places.filter((place) => drawn.has(place) && wanted(place)).forEach(draw);
  const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    watcher.unobserve(entry.target);
    draw(entry.target);
  }), { rootMargin: "800px" });
  places.forEach((place) => watcher.observe(place));
  [dark, wide].forEach((query) => query.addEventListener("change", () => redraw(() => true)));
  addEventListener("beforeprint", () => places.filter((place) => !drawn.has(place)).forEach(draw));

  document.querySelectorAll("input[name=x-axis]").forEach((input) => input.addEventListener("change", () => {
    axis = input.value;
    redraw((place) => charts[place.id].axes);
  }));

  document.querySelectorAll(".legend").forEach((legend) => {
    const section = legend.closest("section");
    const buttons = Array.from(legend.querySelectorAll("[data-series]"));
    const off = new Set();
    hidden.set(section, off);
    const show = (button, shown) => {
      button.setAttribute("aria-pressed", String(shown));
      if (shown) off.delete(Number(button.dataset.series)); else off.add(Number(button.dataset.series));
    };
    legend.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.all) buttons.forEach((one) => show(one, button.dataset.all === "all"));
      else show(button, button.getAttribute("aria-pressed") !== "true");
      redraw((place) => section.contains(place));
    });
  });

  // Of names, with the numbers in them by their size.
  function inOrder(a, b) {
    const [left, right] = [a, b].map((name) => name.match(/\d+(?:\.\d+)?(?:e-?\d+)?|\D+/g) || []);
    const place = left.findIndex((part, i) => part !== right[i]);
    if (place < 0 || right[place] === undefined) return left.length - right.length;
    return Number(left[place]) - Number(right[place]) || left[place].localeCompare(right[place]);
  }

  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = Array.from(table.tHead.rows[0].cells);
    const body = table.tBodies[0];
    const given = Array.from(body.rows);
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "descending" || column === 0 && !head.ariaSort ? 1 : -1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      const keyed = given.map((row) => [row.cells[column].dataset.value, row]);
      keyed.sort(([a], [b]) => {
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
        return way * (column === 0 ? inOrder(a, b) : Number(a) - Number(b));
      });
      body.append(...keyed.map(([, row]) => row));
    }));
  });

  document.querySelectorAll("select[data-panels]").forEach((select) => {
    const choose = () => Array.from(select.options).forEach((option) => {
      document.getElementById(option.value).hidden = option.value !== select.value;
    });
    select.addEventListener("change", choose);
    choose(); // a browser may restore a choice
  });
})();
