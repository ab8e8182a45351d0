/** Settings that several types of channel share. */
import Type from 'typebox'

/** Whole addresses; what is right beyond the pattern is checked by `new URL` where they are stored. */
export const httpUrl = Type.String({
  pattern: '^https?://[^\\s]+$',
  maxLength: 2048,
  description: 'an address that begins with https:// or http://',
})

export const shortText = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: '^[^\\x00-\\x1f\\x7f]*$',
  description: 'a text of 1 to 200 characters',
})
