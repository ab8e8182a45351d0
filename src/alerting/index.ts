/** The front door of alerting. */

export { CHANNEL_TYPES, type ChannelRecord, type ChannelType } from './channels/channel.ts'
export type { ChannelChange, ChannelInput, Channels, ChannelView } from './channels/channels.ts'
export { ACKNOWLEDGE_PATH, type Delivery, type DeliveryOptions, startDelivery } from './channels/delivery.ts'
export type { LinkState } from './links.ts'
export type { OutboxState, TestDelivery } from './outbox.ts'
export { type DeliveryFilter, type DeliveryRow, deliveryTables } from './outbox-store.ts'
export { alertingTables } from './tables.ts'
