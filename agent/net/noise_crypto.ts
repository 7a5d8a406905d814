/**
 * Cryptography of Noise that Deno gets right.
 *
 * The stock one hands a message that lies in several pieces to a cipher of `node:crypto` piece by
 * piece. In Deno 2.7 a second `update()` after one of a length that is no multiple of 64 gives a
 * wrong tag, so that the other end drops the connection at the first message of about 1.2 kB. Here
 * the stock one is handed every message in one piece.
 *
 * @module
 */
import type { ICryptoInterface } from "@libp2p/noise";
import { defaultCrypto } from "@libp2p/noise/crypto";

/** What `noise({ crypto })` takes. */
export const NOISE_CRYPTO: ICryptoInterface = {
  ...defaultCrypto,
  chaCha20Poly1305Encrypt: (plaintext, nonce, associated, key) =>
    defaultCrypto.chaCha20Poly1305Encrypt(plaintext.subarray(), nonce, associated, key),
  chaCha20Poly1305Decrypt: (ciphertext, nonce, associated, key, into) =>
    defaultCrypto.chaCha20Poly1305Decrypt(ciphertext.subarray(), nonce, associated, key, into),
};
