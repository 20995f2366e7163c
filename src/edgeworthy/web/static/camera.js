/** Pictures from the camera. */

import { Problem } from "./api.js";
import { byId } from "./dom.js";

const REFUSALS = {
  NotAllowedError: ["The browser does not let this page use the camera.", "Its settings say why."],
  NotFoundError: ["No camera was found.", "Choose a picture instead."],
  NotReadableError: ["The camera is in use by something else.", "Close that, then try again."],
};

/**
 * @param {{onpicture: (file: File) => void, onproblem: (problem: unknown) => void}} more
 */
export function camera({ onpicture, onproblem }) {
  const panel = byId("camera-panel"), video = byId("video");
  const opener = byId("camera"), shutter = byId("shutter"), capture = byId("capture");
  let taken = 0;

  async function open() {
    if (!navigator.mediaDevices?.getUserMedia) { // not over plain HTTP from another machine
      capture.click();
      return;
    }
    if (!panel.hidden) return;
    shutter.disabled = true; // until there is something to take
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({
        audio: false, video: { facingMode: "environment", width: { ideal: 1280 } },
      });
      panel.hidden = false;
      await video.play();
      shutter.disabled = false;
      shutter.focus();
    } catch (error) {
      close();
      onproblem(readable(error));
    }
  }

  function close() {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    const hadFocus = panel.contains(document.activeElement);
    panel.hidden = true;
    if (hadFocus) opener.focus();
  }

  function shoot() {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d")?.drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      if (blob) onpicture(new File([blob], `camera-${++taken}.png`, { type: "image/png" }));
    }, "image/png");
  }

  opener.onclick = open;
  shutter.onclick = shoot;
  byId("camera-close").onclick = close;
  panel.onkeydown = (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && close();
  capture.onchange = () => {
    for (const file of capture.files) onpicture(file);
    capture.value = "";
  };
  addEventListener("pagehide", close);
}

/** @param {any} error */
function readable(error) {
  const [detail, hint] = /** @type {any} */ (REFUSALS)[error?.name] ?? [];
  return detail ? new Problem({ detail, hint }) : error;
}
