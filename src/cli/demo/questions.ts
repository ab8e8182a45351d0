/** What the demo's markets ask. Invented, harmless, and of every category; the short ones are asked again and again. */

export interface Question {
  readonly title: string
  readonly question: string
  readonly category: string
  readonly tags: readonly string[]
  readonly outcomes: readonly [string, string]
  /** Credits that the creator puts in. */
  readonly liquidity: number
  /** Seconds from its opening to its close. */
  readonly lasts: number
}

const DAY = 86_400
const yesNo = ['Yes', 'No'] as const

export const LONG: readonly Question[] = [
  {
    title: 'Reusable rocket lands ten times in a month',
    question: 'Will one reusable booster model land at least ten times in a single calendar month this year?',
    category: 'science',
    tags: ['space', 'rockets'],
    outcomes: yesNo,
    liquidity: 400,
    lasts: 30 * DAY,
  },
  {
    title: 'Home side wins the cup final',
    question: 'Will the side playing at home win the next cup final within ninety minutes?',
    category: 'sports',
    tags: ['football', 'cup'],
    outcomes: ['Home side', 'Anyone else'],
    liquidity: 300,
    lasts: 12 * DAY,
  },
  {
    title: 'Snow in the valley before the new year',
    question: 'Will at least one centimetre of snow lie in the valley on any morning before the new year?',
    category: 'weather',
    tags: ['snow', 'winter'],
    outcomes: yesNo,
    liquidity: 250,
    lasts: 20 * DAY,
  },
  {
    title: 'The long film wins the jury prize',
    question: 'Will a film of more than three hours win the jury prize of the festival?',
    category: 'entertainment',
    tags: ['film', 'festival'],
    outcomes: yesNo,
    liquidity: 200,
    lasts: 9 * DAY,
  },
  {
    title: 'Council passes the bicycle plan',
    question: 'Will the city council pass the bicycle plan at its next session, in whatever version?',
    category: 'politics',
    tags: ['city', 'bicycles'],
    outcomes: ['Passed', 'Not passed'],
    liquidity: 350,
    lasts: 15 * DAY,
  },
  {
    title: 'Open model tops the public leaderboard',
    question: 'Will a model with open weights stand first on the public leaderboard at the end of the month?',
    category: 'technology',
    tags: ['models', 'open'],
    outcomes: yesNo,
    liquidity: 500,
    lasts: 25 * DAY,
  },
  {
    title: 'Central bank leaves its rate alone',
    question: 'Will the central bank leave its main rate unchanged at the next meeting?',
    category: 'business',
    tags: ['rates'],
    outcomes: ['Unchanged', 'Changed'],
    liquidity: 450,
    lasts: 18 * DAY,
  },
  {
    title: 'Hash rate at a new high',
    question: 'Will the weekly mean of the hash rate reach a new high this quarter?',
    category: 'crypto',
    tags: ['mining'],
    outcomes: yesNo,
    liquidity: 250,
    lasts: 40 * DAY,
  },
  {
    title: 'Clinic opens its evening hours',
    question: 'Will the clinic offer evening hours on at least three days a week by spring?',
    category: 'health',
    tags: ['clinic'],
    outcomes: yesNo,
    liquidity: 150,
    lasts: 60 * DAY,
  },
  {
    title: 'More than half choose the new course',
    question: 'Will more than half of the new students choose the course in data literacy?',
    category: 'education',
    tags: ['courses'],
    outcomes: ['More than half', 'Half or fewer'],
    liquidity: 150,
    lasts: 35 * DAY,
  },
]

/** Opened again whenever the last one has closed. */
export const SHORT: readonly Question[] = [
  {
    title: 'Next bus is late',
    question: 'Will the next bus be more than two minutes late?',
    category: 'other',
    tags: ['short'],
    outcomes: ['Late', 'On time'],
    liquidity: 120,
    lasts: 600,
  },
  {
    title: 'It rains at the top of the hour',
    question: 'Will it rain at the weather station when this market closes?',
    category: 'weather',
    tags: ['short', 'rain'],
    outcomes: ['Rain', 'Dry'],
    liquidity: 150,
    lasts: 1_500,
  },
]
