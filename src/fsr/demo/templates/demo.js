const viewer = new Viewer(document.querySelector(".viewer"));
const [form, drop, file, scale, start, state, progress, results, download] =
  ["form", "drop", "file", "scale", "start", "state", "progress", "results", "download"].map((id) => document.getElementById(id));
let ticking = 0;

function tell(name, text) {
  clearInterval(ticking);
  ticking = 0;
  state.dataset.state = name;
  state.textContent = text;
  progress.hidden = !["uploading", "computing"].includes(name);
  start.disabled = !file.files.length || !progress.hidden;
}

function compute() {
  const began = Date.now();
  tell("computing", "Enlarging");
  progress.removeAttribute("value");
  const timer = setInterval(async () => {
    const share = await fetch("/progress").then((answer) => answer.json()).catch(() => 0);
    if (ticking !== timer) return;
    if (share) progress.value = share;
    state.textContent = `Enlarging, ${Math.round((Date.now() - began) / 1000)} s${share ? `, ${Math.floor(100 * share)} % done` : ""}`;
  }, 1000);
  ticking = timer;
}

function finish(picture, answer) {
  const stem = picture.name.replace(/\.[^.]*$/, "") || "picture";
  const note = `${answer.width}×${answer.height}`;
  viewer.show({
    left: { src: answer.before, label: `bicubic ${answer.scale}×`, note },
    right: { src: answer.after, label: `FSR ${answer.scale}×`, note },
    width: answer.width,
    height: answer.height,
  });
  download.href = answer.after;
  download.download = `${stem}_x${answer.scale}.png`;
  results.hidden = false;
  tell("done", `${picture.name}: ${answer.width}×${answer.height} pixels after ${answer.seconds} s`);
}

function send(picture) {
  results.hidden = viewer.figure.hidden = true;
  if (picture.size > Number(form.dataset.limit)) {
    tell("failed", `${picture.name} has ${(picture.size / 2 ** 20).toFixed(1)} MiB; at most ${Math.floor(form.dataset.limit / 2 ** 20)} MiB are taken`);
    return;
  }
  const request = new XMLHttpRequest();
  request.open("POST", `/upscale?scale=${scale.value}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.addEventListener("progress", (event) => { progress.value = event.loaded / event.total; });
  request.upload.addEventListener("load", compute);
  request.addEventListener("load", () => {
    if (request.status === 200) finish(picture, JSON.parse(request.responseText));
    else tell("failed", request.responseText.trim() || `the answer was ${request.status}; see the terminal`);
  });
  request.addEventListener("error", () => tell("failed", "the command does not answer; is it still running in its terminal?"));
  progress.value = 0;
  tell("uploading", "Uploading");
  request.send(picture);
}

form.addEventListener("submit", (event) => { event.preventDefault(); if (file.files.length) send(file.files[0]); });
file.addEventListener("change", () => tell("waiting", ""));
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => { event.preventDefault(); drop.classList.toggle("over", name === "dragover"); });
}
addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length || !progress.hidden) return;
  file.files = event.dataTransfer.files;
  tell("waiting", "");
  send(file.files[0]);
});
