"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 25;  // mistakes shown at first, and added at a time
  const $ = id => document.getElementById(id);
  const state = {row: "", column: "", text: "", sort: "", down: false, shown: PAGE};
  let following = null;  // what is played after what
  if (!$("mistakes-body")) return;

  // Texts of files get into the page as text alone: nothing here sets innerHTML.
  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function player(clip, name) {
    const box = element("div", {class: "clip"});
    if (clip.sound === null) {
      box.append(element("span", {class: "faint"}, clip.why));
    } else {
      box.append(element("audio", {controls: "", preload: "none", src: data.sounds[clip.sound], "aria-label": name}));
    }
    if (clip.label !== null) box.append(element("bdi", {}, clip.label));
    for (const line of clip.lines) box.append(element("span", {class: "path"}, element("bdi", {}, line)));
    return box;
  }

  function both(cells) {
    const [first, second] = cells.map(cell => cell.querySelector("audio"));
    if (!first || !second) return "";
    const button = element("button", {type: "button", class: "plain", title: "the clip, then the one beside it"},
      "▶ both");
    button.addEventListener("click", () => {
      following = {after: first, play: second};
      first.currentTime = second.currentTime = 0;
      first.play();
    });
    return button;
  }

  function cells(mistake) {
    const row = data.rows[mistake.row], column = data.columns[mistake.column];
    const heard = element("td", {}, player(mistake.clip, `${data.names.clip}: ${row}, ${column}`));
    const nearest = element("td", {}, player(mistake.nearest, `${data.names.nearest}: ${mistake.nearest.label || ""}`));
    nearest.firstChild.append(both([heard, nearest]));
    const made = [heard, element("td", {}, element("bdi", {}, row)), element("td", {}, element("bdi", {}, column)),
      ...mistake.values.map(value => element("td", {}, element("bdi", {}, value[1]))), nearest];
    const names = [data.names.clip, data.names.row, data.names.column, ...data.names.values, data.names.nearest];
    made.forEach((cell, i) => cell.setAttribute("data-name", names[i]));
    return made;
  }

  function key(mistake) {
    if (state.sort === "row") return data.rows[mistake.row];
    if (state.sort === "column") return data.columns[mistake.column];
    return mistake.values[Number(state.sort)][0];
  }

  function compare(a, b) {
    const [x, y] = [key(a), key(b)];
    const order = typeof x === "number" ? x - y : x.localeCompare(y);
    return state.down ? -order : order;
  }

  function wanted(mistake) {
    const text = [mistake.clip, mistake.nearest].flatMap(clip => clip.lines).join("\n").toLowerCase();
    return (state.row === "" || mistake.row === Number(state.row)) &&
      (state.column === "" || mistake.column === Number(state.column)) && text.includes(state.text.toLowerCase());
  }

  function show() {
    const found = data.mistakes.filter(wanted);
    if (state.sort !== "") found.sort(compare);  // stable, and the list's own order without
    $("mistakes-body").replaceChildren(...found.slice(0, state.shown).map(mistake =>
      element("tr", {}, ...cells(mistake))));
    $("more").hidden = found.length <= state.shown;
    $("more").textContent = `show ${Math.min(PAGE, found.length - state.shown)} more`;
    // How many there are of this kind, those that were left out included.
    const all = data.counts.reduce((sum, [row, column, count]) => sum + count * (
      (state.row === "" || row === Number(state.row)) && (state.column === "" || column === Number(state.column))), 0);
    let said = `${found.length} of ${data.mistakes.length} mistakes on this page`;
    if (all > found.length && !state.text) said += `; ${all - found.length} more like these were left out for size`;
    $("count").textContent = said;
    $("row").value = state.row;
    $("column").value = state.column;
    $("text").value = state.text;
    for (const button of document.querySelectorAll(".matrix button")) {
      button.setAttribute("aria-pressed", button.dataset.row === state.row && button.dataset.column === state.column);
    }
    for (const heading of document.querySelectorAll(".mistakes th[data-column]")) {
      heading.setAttribute("aria-sort", heading.dataset.column !== state.sort ? "none" :
        state.down ? "descending" : "ascending");
    }
  }

  function change(values) {
    Object.assign(state, {shown: PAGE}, values);
    show();
  }

  for (const [id, names] of [["row", data.rows], ["column", data.columns]]) {
    const occurring = [...new Set(data.mistakes.map(mistake => mistake[id]))];
    for (const i of occurring.sort((a, b) => names[a].localeCompare(names[b]))) {
      $(id).append(element("option", {value: String(i)}, names[i]));
    }
    $(id).addEventListener("change", event => change({[id]: event.target.value}));
  }
  $("text").addEventListener("input", event => change({text: event.target.value}));
  $("all").addEventListener("click", () => change({row: "", column: "", text: ""}));
  $("more").addEventListener("click", () => { state.shown += PAGE; show(); });
  for (const button of document.querySelectorAll(".mistakes th[data-column] button")) {
    button.addEventListener("click", () => {
      const sort = button.parentElement.dataset.column;
      change({sort, down: sort === state.sort && !state.down});
    });
  }
  for (const button of document.querySelectorAll(".matrix button")) {
    button.addEventListener("click", () => {
      const pressed = button.getAttribute("aria-pressed") === "true";
      const {row, column} = button.dataset;
      // A class of which no mistake is on this page has no option to choose.
      for (const [id, value, names] of [["row", row, data.rows], ["column", column, data.columns]]) {
        if (![...$(id).options].some(option => option.value === value)) {
          $(id).append(element("option", {value}, names[Number(value)]));
        }
      }
      change(pressed ? {row: "", column: "", text: ""} : {row, column, text: ""});
      if (!pressed) {
        $("mistakes-heading").focus({preventScroll: true});
        $("mistakes-heading").scrollIntoView();
      }
    });
  }
  document.addEventListener("play", event => {  // one at a time
    if (following && following.after !== event.target) following = null;
    for (const audio of document.querySelectorAll("audio")) if (audio !== event.target) audio.pause();
  }, true);
  document.addEventListener("ended", event => {
    if (following && following.after === event.target) following.play.play();
  }, true);
  show();
})();
